// An eventfd: the one way threads, KVM and io_uring tell each other that something happened.
#pragma once

#include <cstdint>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako {

/// A non-blocking, close-on-exec eventfd (eventfd(2)).
class EventFd {
  public:
    /// Empty; only create() gives a usable one.
    EventFd() = default;
    static Result<EventFd> create();

    [[nodiscard]] int fd() const { return fd_.get(); }

    /// Adds one to the counter. Never blocks; a full counter is as good as signalled.
    void signal() const;
    /// Sets the counter to 0 and tells what it was (0: it was not signalled).
    std::uint64_t take() const;
    /// True while the counter is not 0. Does not change it.
    [[nodiscard]] bool pending() const;

  private:
    explicit EventFd(Fd fd) : fd_(std::move(fd)) {}
    Fd fd_;
};

}  // namespace hako
