// A connection's socket on the host, with what waits to go either way.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/base/fd.h"
#include "vmm/base/units.h"
#include "vmm/io/engine.h"

namespace hako::virtio::vsock {

/// At most one receive and one send are in the kernel, which waits there for bytes or for room. io thread
/// only.
class HostStream {
  public:
    static constexpr std::size_t kInBytes = 64 * KiB;
    static constexpr std::size_t kOutBytes = 128 * KiB;  ///< a power of two

    class User {
      public:
        /// Something has changed: bytes came or went, the host ended something, or the stream is closed.
        virtual void stream_changed() = 0;

      protected:
        ~User() = default;
    };

    /// `in` has kInBytes and `out` kOutBytes; all of it outlives the stream.
    HostStream(io::Engine& engine, User& user, std::byte* in, std::byte* out)
        : engine_(engine), user_(user), in_(in), out_(out) {}
    HostStream(const HostStream&) = delete;
    HostStream& operator=(const HostStream&) = delete;

    /// `fd`: a connected, blocking stream socket. The stream is closed.
    void open(Fd fd);
    [[nodiscard]] bool is_open() const { return fd_.valid(); }
    /// Ends all that it has in the kernel; what waits is lost. The user hears when it is closed.
    void close();

    // From the host.

    /// Asks for bytes behind those that are there, if it is not under way and there is room.
    void receive();
    [[nodiscard]] std::span<const std::byte> received() const {
        return {in_ + in_first_, in_last_ - in_first_};
    }
    void take(std::size_t count) { in_first_ += count; }
    /// The host sends no more than what is here.
    [[nodiscard]] bool ended() const { return ended_; }
    /// No more is received, and the host's writes fail. Once.
    void end_receiving();

    // To the host.

    /// Room for bytes, in order; in two pieces where it wraps.
    [[nodiscard]] std::array<std::span<std::byte>, 2> room(std::size_t count);
    /// That many were written to where room() said. Once the host takes no more they are lost, and count as
    /// sent.
    void written(std::size_t count);
    /// Sends what waits, if nothing is under way.
    void send();
    [[nodiscard]] std::size_t waiting() const { return static_cast<std::size_t>(out_last_ - out_first_); }
    /// Bytes, since it was opened.
    [[nodiscard]] std::uint64_t sent() const { return out_first_; }
    /// The host takes no more.
    [[nodiscard]] bool refused() const { return refused_; }
    /// The host sees the end of the stream. Once nothing waits.
    void end_sending();

    // An end of both directions is an end; of one, after which the other goes on, nobody tells but a poll.

    /// Looks whether the host is still there, from now on. After ended().
    void watch();
    /// watch() has looked.
    [[nodiscard]] bool looked() const { return looked_; }
    /// Neither direction goes on.
    [[nodiscard]] bool hung_up() const { return hung_up_; }

  private:
    /// One operation, and whether it is in the kernel.
    struct Receive final : io::Completion {
        explicit Receive(HostStream& owner) : stream(owner) {}
        void complete(std::int32_t result, std::uint32_t flags) override;
        HostStream& stream;
        bool active = false;
    };
    struct Send final : io::Completion {
        explicit Send(HostStream& owner) : stream(owner) {}
        void complete(std::int32_t result, std::uint32_t flags) override;
        HostStream& stream;
        bool active = false;
    };
    struct Watch final : io::Completion {
        explicit Watch(HostStream& owner) : stream(owner) {}
        void complete(std::int32_t result, std::uint32_t flags) override;
        HostStream& stream;
        bool active = false;
    };

    void changed();
    void drop_waiting() { out_first_ = out_last_; }
    void arm_watch();

    io::Engine& engine_;
    User& user_;
    std::byte* const in_;
    std::byte* const out_;
    Receive receive_{*this};
    Send send_{*this};
    Watch watch_{*this};
    Fd fd_;
    std::size_t in_first_ = 0;
    std::size_t in_last_ = 0;
    std::uint64_t out_first_ = 0;  ///< bytes since it was opened, as out_last_: of a ring
    std::uint64_t out_last_ = 0;
    bool ended_ = false;
    bool refused_ = false;
    bool looked_ = false;
    bool hung_up_ = false;
    bool closing_ = false;
    bool receiving_ended_ = false;
    bool sending_ended_ = false;
};

}  // namespace hako::virtio::vsock
