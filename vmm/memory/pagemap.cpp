#include "vmm/memory/pagemap.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "vmm/base/units.h"

namespace hako {

Result<Pagemap> Pagemap::open() {
    Fd fd(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return fail_errno(errno, "/proc/self/pagemap");
    return Pagemap(std::move(fd));
}

Result<> Pagemap::read(const std::byte* address, std::span<PageEntry> entries) const {
    auto offset =
        static_cast<off_t>(reinterpret_cast<std::uintptr_t>(address) / kPageSize * sizeof(PageEntry));
    auto bytes = std::as_writable_bytes(entries);
    while (!bytes.empty()) {
        const ssize_t got = ::pread(fd_.get(), bytes.data(), bytes.size(), offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return fail_errno(got == 0 ? EIO : errno, "/proc/self/pagemap");
        bytes = bytes.subspan(static_cast<std::size_t>(got));
        offset += got;
    }
    return {};
}

}  // namespace hako
