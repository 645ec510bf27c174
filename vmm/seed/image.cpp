#include "vmm/seed/image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "vmm/seed/hash.h"

namespace hako::seed {

Result<Image> seal(std::string_view bytes) {
    Fd fd(::memfd_create("hako-seed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd.valid()) return fail_errno(errno, "cannot create a memfd for a disk");
    // Made with 0777; who may look into /proc/PID/fd shall find a secret's mode.
    if (::fchmod(fd.get(), 0600) != 0) return fail_errno(errno, "cannot close a disk's memfd to others");
    for (std::size_t done = 0; done < bytes.size();) {
        const ssize_t written = ::write(fd.get(), bytes.data() + done, bytes.size() - done);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return fail_errno(errno, "cannot write a disk into memory");
        done += static_cast<std::size_t>(written);
    }
    if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return fail_errno(errno, "cannot seal a disk");
    return Image{.fd = std::move(fd), .size = bytes.size(), .checksum = fnv1a(bytes)};
}

}  // namespace hako::seed
