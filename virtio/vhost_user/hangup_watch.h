// Tells when the other end of a socket is gone.
#pragma once

#include <poll.h>

#include "vmm/io/engine.h"

namespace hako::virtio::vhost_user {

/// One poll in the ring; it does not mind who reads the socket meanwhile. io thread only.
class HangupWatch final : public io::Completion {
  public:
    /// Both must outlive the watch.
    HangupWatch(io::Engine& engine, io::BatchWork& work) : engine_(engine), work_(work) {}
    HangupWatch(const HangupWatch&) = delete;
    HangupWatch& operator=(const HangupWatch&) = delete;

    void start(int socket) {
        stopping_ = false;
        hung_up_ = false;
        active_ = true;
        io_uring_prep_poll_add(&engine_.prepare(this), socket, POLLRDHUP);
    }
    /// Asks for the end; `work` is scheduled when it has come. Until active() is false this must live.
    void stop() {
        if (!active_ || stopping_) return;
        stopping_ = true;
        io_uring_prep_cancel(&engine_.prepare(nullptr), static_cast<io::Completion*>(this), 0);
    }
    [[nodiscard]] bool active() const { return active_; }
    [[nodiscard]] bool hung_up() const { return hung_up_; }

    void complete(std::int32_t /*result*/, std::uint32_t /*flags*/) override {
        active_ = false;
        hung_up_ = !stopping_;
        engine_.schedule(work_);
    }

  private:
    io::Engine& engine_;
    io::BatchWork& work_;
    bool active_ = false;
    bool stopping_ = false;
    bool hung_up_ = false;
};

}  // namespace hako::virtio::vhost_user
