#include "vmm/base/eventfd.h"

#include <poll.h>
#include <sys/eventfd.h>

namespace hako {

Result<EventFd> EventFd::create() {
    Fd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!fd.valid())
        return fail_errno(errno, "cannot create an eventfd (raise the limit of open files: ulimit -n)");
    return EventFd(std::move(fd));
}

void EventFd::signal() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(fd_.get(), &one, sizeof one);
}

std::uint64_t EventFd::take() const {
    std::uint64_t count = 0;
    return ::read(fd_.get(), &count, sizeof count) == sizeof count ? count : 0;
}

bool EventFd::pending() const {
    pollfd poll_fd{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    return ::poll(&poll_fd, 1, 0) == 1;
}

}  // namespace hako
