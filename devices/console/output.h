// Console output on its way from the vCPU threads to a file descriptor.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "devices/console/stdio.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/base/result.h"
#include "vmm/base/units.h"

namespace hako::console {

inline constexpr std::size_t kOutputBuffer = 64 * KiB;

enum class Overflow {
    kRefuse,      ///< put() says no until there is room again
    kDropOldest,  ///< the newest 64 KiB are kept
};

/// put() is for any thread, all else for the control thread.
class Output : public std::enable_shared_from_this<Output> {
  public:
    /// `name` is for log lines. An empty descriptor swallows everything.
    static std::shared_ptr<Output> create(boost::asio::io_context& io, Stream stream, Overflow overflow,
                                          std::string name);

    bool put(std::uint8_t byte);

    /// Called after put() has refused bytes and there is room again; {} forgets it.
    void on_room(std::function<void()> callback) { on_room_ = std::move(callback); }
    /// Asked before each batch is written; drain() goes on after it said no.
    void write_only_if(std::function<bool()> condition) { may_write_ = std::move(condition); }

    /// Writes what is buffered, as far as it goes without waiting, and the rest as soon as it can be.
    void drain();
    /// Writes what is buffered, waiting at most `limit` in all.
    void flush(std::chrono::milliseconds limit);

  private:
    Output(boost::asio::io_context& io, Overflow overflow, std::string name);

    enum class Step { kWritten, kEmpty, kBlocked };
    Step write_some();
    bool refill();
    void schedule();
    void give_up(int error);

    boost::asio::io_context& io_;
    boost::asio::posix::stream_descriptor descriptor_;
    boost::asio::steady_timer batch_timer_;
    const Overflow overflow_;
    const std::string name_;
    bool nonblocking_ = true;
    bool regular_file_ = false;
    bool waiting_ = false;  ///< for the descriptor to take bytes
    std::function<void()> on_room_;
    std::function<bool()> may_write_;
    LogLimit error_limit_;

    /// Taken from the ring, bytes [chunk_begin_, chunk_end_) not yet written.
    std::array<std::uint8_t, 4096> chunk_;
    std::size_t chunk_begin_ = 0;
    std::size_t chunk_end_ = 0;

    std::mutex mutex_;  ///< guards all below
    std::vector<std::uint8_t> ring_;
    std::size_t ring_begin_ = 0;
    std::size_t ring_size_ = 0;
    bool scheduled_ = false;  ///< drain() will run, or waits for the descriptor
    bool refused_ = false;
    bool closed_ = false;
};

}  // namespace hako::console
