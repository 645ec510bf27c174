// Frames out of a stream of bytes: each behind its length, 32 bits, big-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>

#include "vmm/base/units.h"

namespace hako::virtio::net {

/// What stands in front of each frame on the wire.
inline constexpr std::size_t kLengthBytes = 4;
/// An Ethernet header.
inline constexpr std::size_t kMinFrame = 14;
/// The longest frame taken from a stream: QEMU's buffers, from which the format comes, are as long.
inline constexpr std::size_t kMaxReceivedFrame = 68 * KiB;
/// The longest frame put on one: passt takes no longer one (ETH_MAX_MTU), and ends the connection over it.
inline constexpr std::size_t kMaxSentFrame = 65535;

/// Bytes come in at room(), frames go out by next() and pop(). All memory is taken when it is made.
class FrameBuffer {
  public:
    enum class NoFrame : std::uint8_t {
        kIncomplete,  ///< it has not all come in yet
        kBadLength,   ///< nothing after this can be made sense of: see length()
    };

    FrameBuffer() : memory_(std::make_unique_for_overwrite<std::byte[]>(kBytes)) {}

    /// Where the next bytes go; not empty when next() says kIncomplete. Moves what next() gave.
    [[nodiscard]] std::span<std::byte> room();
    /// So many bytes are there now.
    void filled(std::size_t bytes) { end_ += bytes; }

    /// The first frame, in the buffer. Bounded work; the length is read once more each time.
    [[nodiscard]] std::expected<std::span<const std::byte>, NoFrame> next() const;
    /// Drops the frame that next() gave.
    void pop();
    /// What stands where the length of the next frame should, once four bytes are there.
    [[nodiscard]] std::uint32_t length() const;
    void clear() { begin_ = end_ = 0; }

  private:
    /// Some of the longest frames, many of the usual: as much as one read brings.
    static constexpr std::size_t kBytes = 256 * KiB;

    [[nodiscard]] std::size_t bytes() const { return end_ - begin_; }

    std::unique_ptr<std::byte[]> memory_;  ///< untouched, hence unbacked, until it is read to
    std::size_t begin_ = 0;                ///< of the first frame's length
    std::size_t end_ = 0;
};

}  // namespace hako::virtio::net
