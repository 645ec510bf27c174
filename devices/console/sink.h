// The seams between a console device and its host end: bytes out, bytes in, and who waits for whom.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hako::console {

/// Where a UART sends its bytes. Called from vCPU threads; never blocks.
class Sink {
  public:
    virtual ~Sink() = default;
    /// Takes one byte of guest output. False: no room, the byte was not taken, and Port::writable() follows.
    virtual bool put(std::uint8_t byte) = 0;
    /// The guest has made room after Port::receive() took less than it was offered.
    virtual void input_wanted() = 0;
};

/// The device as its host end sees it. Called from the io thread.
class Port {
  public:
    virtual ~Port() = default;
    /// Offers input to the guest; returns how many of the bytes, from the first on, it took. If not all,
    /// it asks for them (input_wanted()) once there is room.
    virtual std::size_t receive(std::span<const std::uint8_t> bytes) = 0;
    /// Output is taken (again). Called once at the start, too.
    virtual void writable() = 0;
    /// Backend::attached() has changed.
    virtual void attached_changed() {}
    /// Backend::size() has changed.
    virtual void resized() {}
};

}  // namespace hako::console
