// One way out of a console: from its history to a descriptor.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <chrono>
#include <cstdint>

#include "devices/console/history.h"
#include "vmm/base/counter.h"
#include "vmm/io/engine.h"
#include "vmm/io/timer.h"

namespace hako::console {

/// What happens to bytes that the other end does not take in time.
enum class Lag {
    kWait,  ///< they stay in the history, and the guest waits when it is full
    kDrop,  ///< after some patience the oldest are dropped
};

enum class Target : std::uint8_t {
    kFile,    ///< a regular file: always takes bytes, sooner or later
    kStream,  ///< a pipe, a terminal, a device
    kSocket,
};

/// Writes the history to a descriptor, straight from the ring, one write at a time. io thread only.
class Outlet final : public io::Completion {
  public:
    /// All of it outlives the outlet. `work` runs after each change. `patience`: see Config.
    Outlet(io::Engine& engine, History& history, io::BatchWork& work, Lag lag,
           std::chrono::milliseconds patience, Counter& dropped);
    Outlet(const Outlet&) = delete;
    Outlet& operator=(const Outlet&) = delete;

    /// Writes to `fd` from now on, first what nobody got yet. Not before idle().
    void attach(int fd, Target target);
    /// Writes no more; the descriptor is in use until idle().
    void detach();
    [[nodiscard]] bool attached() const { return fd_ >= 0; }
    [[nodiscard]] bool idle() const { return state_ == State::kIdle && !timer_.active(); }
    /// errno of a write that failed, 0: none. Nothing more is written until skip() or another attach().
    [[nodiscard]] int error() const { return error_; }
    /// Leaves out what could not be written.
    void skip();

    /// Of the next byte to write.
    [[nodiscard]] std::uint64_t position() const { return position_; }
    /// Begins the next write, if there is something to write.
    void pump();
    /// The history has moved on: what is not there any more is lost.
    void overwritten();
    /// From here on the history may not be overwritten.
    [[nodiscard]] std::uint64_t held() const;
    /// Whether all that there is to write was written, as far as anybody wants it.
    [[nodiscard]] bool drained() const {
        return state_ != State::kWriting && (!attached() || error_ != 0 || position_ == history_.end());
    }

    void complete(std::int32_t result, std::uint32_t flags) override;

  private:
    enum class State : std::uint8_t {
        kIdle,
        kWriting,
        kBlocked,  ///< polls until the descriptor takes bytes
    };

    void wait_for_room();
    void wait_patiently();

    io::Engine& engine_;
    History& history_;
    io::BatchWork& work_;
    const Lag lag_;
    const std::chrono::milliseconds patience_;
    Counter& dropped_;
    io::Timer timer_;  ///< of the patience
    State state_ = State::kIdle;
    int fd_ = -1;
    Target target_ = Target::kFile;
    int rw_flags_ = 0;
    bool poll_first_ = false;
    bool ready_ = false;  ///< poll_first_ is satisfied
    bool lagging_ = false;
    bool waited_ = false;  ///< timer_ runs, or has run out since the last write that went well
    int error_ = 0;
    std::uint64_t position_ = 0;  ///< of the next byte to write
    std::size_t writing_ = 0;     ///< bytes of the write in the kernel
    std::array<iovec, 2> pieces_{};
    msghdr message_{};
};

}  // namespace hako::console
