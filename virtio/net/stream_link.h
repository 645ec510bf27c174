// Keeps a stream socket connected: notices its loss, tells the driver, connects again.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <latch>
#include <string_view>

#include "virtio/device.h"
#include "virtio/net/backend.h"
#include "virtio/net/stream.h"
#include "vmm/io/engine.h"
#include "vmm/io/timer.h"

namespace hako::virtio::net {

/// The connection of one interface, shared by its two queues. io thread only.
///
/// A lost connection is shut down; it is closed when the last operation on it is back from the kernel, so
/// that none can meet the next connection. Then a timer tries again, ever more slowly up to kLongestDelay,
/// until it is up. Backend::carrier says so, and the driver is told of each change.
class StreamLink final : public io::BatchWork {
  public:
    static constexpr std::chrono::milliseconds kFirstDelay{100};
    static constexpr std::chrono::milliseconds kLongestDelay{5000};

    /// All of it outlives the link.
    StreamLink(io::Engine& engine, Backend& backend, Stream& stream)
        : engine_(engine), backend_(backend), stream_(stream), timer_(engine, *this) {}

    void start();
    /// Keeps the connection as it is, and counts `idle` down when nothing of the link is left in the kernel.
    void stop(std::latch& idle);
    /// While paused nothing is connected and nobody told.
    void pause() { paused_ = true; }
    void resume();

    /// Who works on it: whom to tell of changes and what to run after them. Null and nothing while inactive.
    void set_users(TransportHooks* hooks, std::array<io::BatchWork*, 2> queues);

    [[nodiscard]] bool up() const { return up_; }
    [[nodiscard]] const io::FileRef& file() const { return file_; }
    [[nodiscard]] Stream& stream() { return stream_; }

    /// Around each operation on file().
    void began() { ++in_kernel_; }
    void ended();
    /// The connection is of no use any more.
    void lost(std::string_view why);
    /// The other end speaks the protocol: after a loss the first try comes soon again.
    void proven() { delay_ = kFirstDelay; }

    void run_batch() override;

  private:
    void connected();
    void tell();

    io::Engine& engine_;
    Backend& backend_;
    Stream& stream_;
    io::Timer timer_;
    io::FileRef file_;
    TransportHooks* hooks_ = nullptr;
    std::array<io::BatchWork*, 2> queues_{};
    std::chrono::milliseconds delay_ = kFirstDelay;
    std::latch* idle_ = nullptr;
    LogLimit back_log_;  ///< of its own: the loss was just told
    std::uint32_t in_kernel_ = 0;
    bool up_ = false;
    bool waited_ = false;  ///< the delay before the next try is over
    bool paused_ = false;
};

}  // namespace hako::virtio::net
