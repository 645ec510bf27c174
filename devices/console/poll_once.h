// Waits once for a descriptor.
#pragma once

#include <cerrno>

#include "vmm/io/engine.h"

namespace hako::console {

/// A one-shot poll that schedules `work`. io thread only.
class PollOnce final : public io::Completion {
  public:
    /// Both outlive it.
    PollOnce(io::Engine& engine, io::BatchWork& work) : engine_(engine), work_(work) {}
    PollOnce(const PollOnce&) = delete;
    PollOnce& operator=(const PollOnce&) = delete;

    /// `events`: as poll(2); POLLHUP and POLLERR always count. Not while active().
    void start(int fd, unsigned events) {
        active_ = true;
        fired_ = false;
        io_uring_prep_poll_add(&engine_.prepare(this), fd, events);
    }
    /// Asks for the end. Until active() is false this must live, and the descriptor be open.
    void stop() {
        if (active_) io_uring_prep_cancel(&engine_.prepare(nullptr), static_cast<io::Completion*>(this), 0);
    }
    [[nodiscard]] bool active() const { return active_; }
    /// Whether what it waited for has come.
    [[nodiscard]] bool fired() const { return fired_; }

    void complete(std::int32_t result, std::uint32_t /*flags*/) override {
        active_ = false;
        fired_ = result != -ECANCELED;
        engine_.schedule(work_);
    }

  private:
    io::Engine& engine_;
    io::BatchWork& work_;
    bool active_ = false;
    bool fired_ = false;
};

}  // namespace hako::console
