#include "api/events/event_monitor.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace hako::api {

Result<EventMonitor> EventMonitor::open(std::variant<std::string, Fd> target) {
    Fd fd;
    if (const auto* const path = std::get_if<std::string>(&target)) {
        fd = Fd(::open(path->c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600));
        if (!fd.valid())
            return fail_input("event monitor {}: {}: name a file that this user may write", *path,
                              errno_text(errno));
    } else {
        fd = std::move(std::get<Fd>(target));
    }
    const int flags = ::fcntl(fd.get(), F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
        return fail_input("event monitor fd {}: it is not open for writing", fd.get());
    if (::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0 || ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) != 0)
        return fail_errno(errno, "event monitor fd {}: cannot be made non-blocking", fd.get());
    return EventMonitor(std::move(fd));
}

void EventMonitor::write(const Event& event) {
    // No longer than PIPE_BUF, so that a pipe takes all of it or nothing.
    const std::string text = monitor_text(event);
    ssize_t written = -1;
    do {
        written = ::write(fd_.get(), text.data(), text.size());
    } while (written < 0 && errno == EINTR);
    if (written != static_cast<ssize_t>(text.size()))
        log_limit_->warn("event monitor: {} {} is lost: {}", event.source, event.name,
                         written < 0 ? errno_text(errno) : "not all of it could be written");
}

}  // namespace hako::api
