// The way into a console: from a descriptor to the guest.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "devices/console/escape.h"
#include "vmm/io/engine.h"

namespace hako::console {

/// Polls, then reads, into a buffer that the guest is given; no further than it takes, so that a pipe's
/// writer waits. Only a terminal is always read, for its escape: a guest that reads nothing loses what is
/// typed beyond 4 KiB. io thread only.
class Inlet final : public io::Completion {
  public:
    static constexpr std::size_t kBuffer = 4096;

    /// Both outlive the inlet. `work` runs after each change.
    Inlet(io::Engine& engine, io::BatchWork& work);
    Inlet(const Inlet&) = delete;
    Inlet& operator=(const Inlet&) = delete;

    /// Ctrl-A x calls `on_quit`. Without this no byte has a special meaning.
    void watch_escape(std::function<void()> on_quit);
    /// Asked before each read; reading stops when it says no, until attach().
    void read_only_if(std::function<bool()> condition) { may_read_ = std::move(condition); }

    /// Reads from `fd` from now on. What was read before is kept.
    void attach(int fd);
    /// Reads no more; the descriptor is in use until idle().
    void detach();
    [[nodiscard]] bool attached() const { return fd_ >= 0; }
    [[nodiscard]] bool idle() const { return state_ == State::kIdle; }
    /// Nothing more comes: end of file or an error.
    [[nodiscard]] bool ended() const { return ended_; }

    /// Begins to read, if there is room.
    void pump();
    /// Read and not yet taken by the guest.
    [[nodiscard]] std::span<const std::uint8_t> bytes() const { return std::span(pending_).subspan(taken_); }
    void take(std::size_t count);
    /// Forgets what was read.
    void clear() { take(pending_.size() - taken_); }

    void complete(std::int32_t result, std::uint32_t flags) override;

  private:
    enum class State : std::uint8_t { kIdle, kPolling, kReading };

    void received(std::span<const std::uint8_t> bytes);

    io::Engine& engine_;
    io::BatchWork& work_;
    State state_ = State::kIdle;
    int fd_ = -1;
    int reading_ = -1;  ///< the descriptor of the operation in the kernel
    bool ready_ = false;
    bool ended_ = false;
    bool has_escape_ = false;
    Escape escape_;
    std::function<void()> on_quit_;
    std::function<bool()> may_read_;
    std::array<std::uint8_t, kBuffer> buffer_{};
    std::vector<std::uint8_t> pending_;
    std::size_t taken_ = 0;
};

}  // namespace hako::console
