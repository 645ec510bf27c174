// The bytes of a fuzz target's input, taken one after the other; zeros when there are no more.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace hako::fuzz {

class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : left_(data, size) {}
    [[nodiscard]] bool empty() const { return left_.empty(); }
    std::uint8_t byte() { return left_.empty() ? std::uint8_t{0} : take(1)[0]; }
    std::uint16_t word() { return static_cast<std::uint16_t>(byte() | byte() << 8); }
    std::uint32_t long_word() { return word() | std::uint32_t{word()} << 16; }
    /// So many of them, or what is left.
    std::span<const std::uint8_t> take(std::size_t size) {
        const auto taken = left_.first(std::min(size, left_.size()));
        left_ = left_.subspan(taken.size());
        return taken;
    }

  private:
    std::span<const std::uint8_t> left_;
};

}  // namespace hako::fuzz
