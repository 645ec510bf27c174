// Writes events to a file, a FIFO or a descriptor, as they happen.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "api/events/event_log.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/base/result.h"

namespace hako::api {

/// Never waits: an event that a reader has no room for is lost to it, whole.
class EventMonitor {
  public:
    /// A path is appended to, and made when it is missing (mode 0600); the opening of a FIFO waits for its
    /// reader. The process ignores SIGPIPE.
    static Result<EventMonitor> open(std::variant<std::string, Fd> target);

    void write(const Event& event);

  private:
    explicit EventMonitor(Fd fd) : fd_(std::move(fd)) {}

    Fd fd_;
    std::unique_ptr<LogLimit> log_limit_ = std::make_unique<LogLimit>();
};

}  // namespace hako::api
