// The newest bytes of a console's output, in a ring.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hako::console {

/// Positions count the bytes ever written, so that each reader has one of its own. One thread.
class History {
  public:
    explicit History(std::size_t capacity) : ring_(capacity) {}

    [[nodiscard]] std::size_t capacity() const { return ring_.size(); }
    /// Of the oldest byte that is still there.
    [[nodiscard]] std::uint64_t begin() const { return end_ - held_; }
    /// Of the next byte to be written.
    [[nodiscard]] std::uint64_t end() const { return end_; }

    /// Adds bytes; the oldest make room.
    void append(std::span<const std::uint8_t> bytes);

    /// The ring's own memory from `position` on, `limit` bytes at most, in pieces; how many of them. The
    /// position is not before begin().
    unsigned pieces(std::uint64_t position, std::size_t limit, std::array<iovec, 2>& out);

  private:
    std::vector<std::uint8_t> ring_;
    std::uint64_t end_ = 0;
    std::size_t held_ = 0;
};

}  // namespace hako::console
