// Numbers in the bytes of an image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hako::seed {

/// `count` bytes of `value`, least significant first, over those at `at`, which are there.
inline void store_le(std::string& image, std::size_t at, std::uint64_t value, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
        image.at(at + i) = static_cast<char>(value >> (8 * i));
}
/// The same, most significant first.
inline void store_be(std::string& image, std::size_t at, std::uint64_t value, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
        image.at(at + count - 1 - i) = static_cast<char>(value >> (8 * i));
}

inline void append_le(std::string& out, std::uint64_t value, std::size_t count) {
    out.resize(out.size() + count);
    store_le(out, out.size() - count, value, count);
}
inline void append_be(std::string& out, std::uint64_t value, std::size_t count) {
    out.resize(out.size() + count);
    store_be(out, out.size() - count, value, count);
}

/// 0 for what lies beyond the end.
inline std::uint8_t load8(std::string_view image, std::size_t at) {
    return at < image.size() ? static_cast<std::uint8_t>(image[at]) : std::uint8_t{0};
}
inline std::uint16_t load_le16(std::string_view image, std::size_t at) {
    return static_cast<std::uint16_t>(load8(image, at) | load8(image, at + 1) << 8);
}
inline std::uint32_t load_le32(std::string_view image, std::size_t at) {
    return load_le16(image, at) | std::uint32_t{load_le16(image, at + 2)} << 16;
}

}  // namespace hako::seed
