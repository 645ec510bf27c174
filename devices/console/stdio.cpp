#include "devices/console/stdio.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include <string>

namespace hako::console {

Stream duplicate(int fd, int access_mode) {
    struct stat info{};
    if (::fstat(fd, &info) != 0) return {};
    // A regular file opened anew would start at offset 0; it never blocks anyway.
    if (S_ISFIFO(info.st_mode) || (S_ISCHR(info.st_mode) && ::isatty(fd) == 1)) {
        const std::string self = fmt::format("/proc/self/fd/{}", fd);
        Fd own(::open(self.c_str(), access_mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
        if (own.valid()) return {.fd = std::move(own), .nonblocking = true};
        // Another user's terminal, or a pipe whose reader is gone.
    }
    return {.fd = Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 3)), .nonblocking = false};
}

bool ready(int fd, short events) {
    pollfd poll_fd{.fd = fd, .events = events, .revents = 0};
    return ::poll(&poll_fd, 1, 0) == 1;
}

void ignore_write_signals() {
    for (const int number : {SIGPIPE, SIGXFSZ}) {
        struct sigaction current{};
        if (::sigaction(number, nullptr, &current) == 0 && (current.sa_flags & SA_SIGINFO) == 0 &&
            current.sa_handler == SIG_DFL)
            ::signal(number, SIG_IGN);
    }
}

}  // namespace hako::console
