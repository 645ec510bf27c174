// The host's end of a network interface: a stream socket, as passt and QEMU's `-netdev stream` speak it.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "virtio/net/config.h"
#include "virtio/net/frame_buffer.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::virtio::net {

/// A connection, and the frames that are cut by its ends: what came in in part, what went out in part. They
/// belong to the connection and not to the queues, since it outlives a driver's reset and a reboot.
class Stream {
  public:
    /// Connects to the unix socket `config.socket`, or takes over the one open stream socket in `config.fds`.
    static Result<std::unique_ptr<Stream>> open(const Config& config);
    /// Takes over a connected SOCK_STREAM socket. `name` stands for it in messages.
    static Result<std::unique_ptr<Stream>> adopt(Fd socket, std::string name);
    static bool is_stream(int fd);

    [[nodiscard]] const std::string& name() const { return name_; }
    /// -1 while not connected.
    [[nodiscard]] int fd() const { return socket_.get(); }
    [[nodiscard]] bool connected() const { return socket_.valid(); }
    /// Whether there is a way to a new connection.
    [[nodiscard]] bool can_connect() const { return !path_.empty(); }
    /// Never waits.
    Result<> connect();
    /// Ends both directions; operations in the kernel end, too.
    void shut_down() const;
    /// Closes it and forgets the cut frames.
    void close();

    FrameBuffer received;
    /// The rest of a frame whose beginning the socket took: it goes out before anything else.
    class Rest {
      public:
        /// Room for kMaxSentFrame and its length, to be filled from the front.
        [[nodiscard]] std::span<std::byte> room() { return bytes_; }
        void filled(std::size_t bytes) { first_ = 0, last_ = bytes; }
        [[nodiscard]] std::span<const std::byte> left() const {
            return std::span(bytes_).subspan(first_, last_ - first_);
        }
        void sent(std::size_t bytes) { first_ += bytes; }

      private:
        std::array<std::byte, kLengthBytes + kMaxSentFrame> bytes_;
        std::size_t first_ = 0;
        std::size_t last_ = 0;
    } rest;

  private:
    Stream(std::string name, std::string path, Fd socket)
        : name_(std::move(name)), path_(std::move(path)), socket_(std::move(socket)) {}

    std::string name_;
    std::string path_;  ///< "": handed over
    Fd socket_;
};

}  // namespace hako::virtio::net
