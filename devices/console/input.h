// Console input on its way from a file descriptor to the guest.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "devices/console/escape.h"
#include "devices/console/sink.h"
#include "devices/console/stdio.h"

namespace hako::console {

/// Reads no further than the guest takes, so that a pipe's writer waits. Only a terminal is always read, for
/// its escape: a guest that reads nothing loses what is typed beyond 4 KiB. wanted() is for any thread, all
/// else for the control thread.
class Input : public std::enable_shared_from_this<Input> {
  public:
    static std::shared_ptr<Input> create(boost::asio::io_context& io, Stream stream);

    /// Ctrl-A x calls `on_quit`. Without this no byte has a special meaning.
    void watch_escape(std::function<void()> on_quit);
    /// Called when nothing more comes: end of file (0), or an errno. start() may be tried again later.
    void on_end(std::function<void(int)> callback) { on_end_ = std::move(callback); }
    /// Asked before each read; reading stops when it says no, until start().
    void read_only_if(std::function<bool()> condition) { may_read_ = std::move(condition); }

    /// Input goes to `port` until stop() or the end. What the port before did not take goes there, too.
    void start(Port& port);
    /// The guest has room again.
    void wanted();
    void stop();

  private:
    explicit Input(boost::asio::io_context& io) : io_(io), descriptor_(io) {}

    void wait();
    void read();
    void feed();

    boost::asio::io_context& io_;
    boost::asio::posix::stream_descriptor descriptor_;
    bool pollable_ = true;
    bool waiting_ = false;
    bool blocked_ = false;  ///< the guest refused bytes, and wanted() has not come
    Port* port_ = nullptr;
    bool has_escape_ = false;
    Escape escape_;
    std::function<void()> on_quit_;
    std::function<void(int)> on_end_;
    std::function<bool()> may_read_;
    std::vector<std::uint8_t> pending_;  ///< read, not yet taken by the guest
};

}  // namespace hako::console
