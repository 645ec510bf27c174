// A plain socket: nothing of guest memory is copied on the way to the kernel.
#pragma once

#include <array>
#include <vector>

#include "migration/transport/stream.h"

namespace hako::migration {

class SocketStream : public Stream {
  public:
    /// `socket`: connected, of type SOCK_STREAM. It is made non-blocking.
    explicit SocketStream(Fd socket);

    using Stream::receive;
    using Stream::send;
    Outcome<> send(std::span<iovec> parts, const Wait& wait) override;
    Outcome<> receive(std::span<iovec> parts, const Wait& wait) override;
    Outcome<> send_fd(std::span<const std::byte> data, int fd, const Wait& wait) override;
    std::optional<Fd> take_fd() override;
    [[nodiscard]] std::uint64_t handed() const override { return handed_; }
    void shut_down() override;

  private:
    Outcome<std::size_t> send_some(std::span<iovec> parts, int fd, const Wait& wait);
    /// From what was read ahead.
    void take_ahead(std::span<iovec>& parts);
    Outcome<> receive_some(std::span<iovec>& parts, const Wait& wait);

    /// A frame with a page, or many small ones, in one system call.
    static constexpr std::size_t kAhead = 8 * 1024;

    Fd socket_;
    std::array<std::byte, kAhead> ahead_{};  ///< what came with the last receive() and was not asked for
    std::span<const std::byte> ahead_left_;
    std::uint64_t handed_ = 0;
    std::vector<Fd> fds_;  ///< received, the oldest first
};

/// A failed send or receive as an event.
[[nodiscard]] Failure socket_failure(int error, std::string_view what);

}  // namespace hako::migration
