// One connection of a migration: bytes both ways, descriptors too on a unix socket.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "migration/failure.h"
#include "migration/transport/wait.h"
#include "vmm/base/fd.h"

namespace hako::migration {

/// A reliable byte stream. One thread at a time sends, and one receives; shut_down() is for any thread.
class Stream {
  public:
    virtual ~Stream() = default;

    /// Sends all of `parts`, which are used up. Guest memory may be among them: it is not copied where the
    /// transport can do without.
    virtual Outcome<> send(std::span<iovec> parts, const Wait& wait) = 0;
    /// Fills all of `parts`, which are used up.
    virtual Outcome<> receive(std::span<iovec> parts, const Wait& wait) = 0;
    /// Sends `data` with a descriptor at its first byte. Not every stream can.
    virtual Outcome<> send_fd(std::span<const std::byte> data, int fd, const Wait& wait);
    /// A descriptor that came with what was received; the oldest first.
    virtual std::optional<Fd> take_fd() { return std::nullopt; }
    /// How many bytes the kernel took so far. Once one of a frame is gone, the peer may get the frame.
    [[nodiscard]] virtual std::uint64_t handed() const = 0;
    /// Ends the connection: the peer and whoever waits here see its end.
    virtual void shut_down() = 0;

    Outcome<> send(std::span<const std::byte> data, const Wait& wait) {
        iovec part{.iov_base = const_cast<std::byte*>(data.data()), .iov_len = data.size()};
        return send(std::span(&part, 1), wait);
    }
    Outcome<> receive(std::span<std::byte> data, const Wait& wait) {
        iovec part{.iov_base = data.data(), .iov_len = data.size()};
        return receive(std::span(&part, 1), wait);
    }
};

/// Takes `count` bytes off the front of `parts`.
void consume(std::span<iovec>& parts, std::size_t count);

/// Gives streams: a listener, or what a test puts in its place.
class Acceptor {
  public:
    virtual ~Acceptor() = default;
    /// The next connection.
    virtual Outcome<std::unique_ptr<Stream>> accept(const Wait& wait) = 0;
    /// No more will come; the address is free again.
    virtual void close() = 0;
};

/// Makes connections to one peer.
class Connector {
  public:
    virtual ~Connector() = default;
    virtual Outcome<std::unique_ptr<Stream>> connect(const Wait& wait) = 0;
};

}  // namespace hako::migration
