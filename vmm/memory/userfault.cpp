#include "vmm/memory/userfault.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "vmm/base/units.h"

namespace hako {
namespace {

constexpr std::uint64_t kIoctls = std::uint64_t{1} << _UFFDIO_COPY | std::uint64_t{1} << _UFFDIO_ZEROPAGE |
                                  std::uint64_t{1} << _UFFDIO_WAKE;

std::uint64_t address_of(const std::byte* at) {
    return reinterpret_cast<std::uint64_t>(at);
}

uffdio_range range_of(std::span<std::byte> memory) {
    return {.start = address_of(memory.data()), .len = memory.size()};
}

/// What a filling ioctl did: `done` is bytes, or an errno, negative.
Result<std::size_t> filled(int error, std::int64_t done, const char* what) {
    if (done > 0) return static_cast<std::size_t>(done);
    if (error == EEXIST) return std::size_t{0};
    return fail_errno(error, "userfaultfd: {}", what);
}

}  // namespace

Result<Userfault> Userfault::open() {
    const Fd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
    const int device_error = device.valid() ? 0 : errno;
    Fd fd;
    if (device.valid()) fd = Fd(::ioctl(device.get(), USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK));
    // Not UFFD_USER_MODE_ONLY: guest memory is also touched by KVM and io_uring, in the kernel.
    if (!fd.valid()) fd = Fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
    if (!fd.valid())
        return fail_errno(errno,
                          "userfaultfd is refused (/dev/userfaultfd: {}); `hako doctor` tells what helps",
                          errno_text(device_error));
    uffdio_api api{.api = UFFD_API, .features = UFFD_FEATURE_MISSING_SHMEM, .ioctls = 0};
    if (::ioctl(fd.get(), UFFDIO_API, &api) != 0)
        return fail_errno(errno, "this kernel's userfaultfd does not know shared memory");
    return Userfault(std::move(fd));
}

Result<> Userfault::watch(std::span<std::byte> memory) {
    uffdio_register wanted{.range = range_of(memory), .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
    if (::ioctl(fd_.get(), UFFDIO_REGISTER, &wanted) != 0)
        return fail_errno(errno, "userfaultfd: cannot watch {} of memory", format_size(memory.size()));
    if ((wanted.ioctls & kIoctls) != kIoctls)
        return fail_host("userfaultfd: this kernel cannot fill this kind of memory (it can {:#x})",
                         std::uint64_t{wanted.ioctls});
    return {};
}

Result<> Userfault::unwatch(std::span<std::byte> memory) {
    uffdio_range range = range_of(memory);
    if (::ioctl(fd_.get(), UFFDIO_UNREGISTER, &range) != 0)
        return fail_errno(errno, "userfaultfd: cannot let go of {} of memory", format_size(memory.size()));
    return {};
}

Result<std::optional<std::byte*>> Userfault::take() const {
    uffd_msg message{};
    for (;;) {
        const ssize_t got = ::read(fd_.get(), &message, sizeof message);
        if (got == sizeof message && message.event == UFFD_EVENT_PAGEFAULT)
            return reinterpret_cast<std::byte*>(
                align_down(std::uint64_t{message.arg.pagefault.address}, kPageSize));
        if (got == sizeof message || (got < 0 && errno == EINTR)) continue;
        if (got < 0 && errno == EAGAIN) return std::nullopt;
        return fail_errno(got < 0 ? errno : EIO, "userfaultfd: cannot read");
    }
}

Result<std::size_t> Userfault::copy(std::byte* to, std::span<const std::byte> content) const {
    uffdio_copy copy{.dst = address_of(to),
                     .src = address_of(content.data()),
                     .len = content.size(),
                     .mode = 0,
                     .copy = 0};
    if (::ioctl(fd_.get(), UFFDIO_COPY, &copy) == 0) return content.size();
    return filled(errno, copy.copy, "cannot fill memory");
}

Result<std::size_t> Userfault::zero(std::span<std::byte> pages) const {
    uffdio_zeropage zero{.range = range_of(pages), .mode = 0, .zeropage = 0};
    if (::ioctl(fd_.get(), UFFDIO_ZEROPAGE, &zero) == 0) return pages.size();
    return filled(errno, zero.zeropage, "cannot fill memory with zeros");
}

void Userfault::wake(std::span<std::byte> pages) const {
    uffdio_range range = range_of(pages);
    ::ioctl(fd_.get(), UFFDIO_WAKE, &range);
}

}  // namespace hako
