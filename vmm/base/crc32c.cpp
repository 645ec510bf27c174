#include "vmm/base/crc32c.h"

#include <nmmintrin.h>

#include <array>
#include <cstring>

namespace hako {
namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78;  // 0x1edc6f41, bit-reflected

constexpr std::array<std::uint32_t, 256> make_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t value = byte;
        for (int bit = 0; bit < 8; ++bit)
            value = (value >> 1) ^ ((value & 1) != 0 ? kPolynomial : 0);
        table[byte] = value;
    }
    return table;
}

[[gnu::target("sse4.2")]] std::uint32_t by_instruction(std::span<const std::byte> data,
                                                       std::uint32_t before) {
    std::uint64_t crc = ~before;
    while (data.size() >= sizeof(std::uint64_t)) {
        std::uint64_t word = 0;
        std::memcpy(&word, data.data(), sizeof word);
        crc = _mm_crc32_u64(crc, word);
        data = data.subspan(sizeof word);
    }
    auto rest = static_cast<std::uint32_t>(crc);
    for (const std::byte byte : data)
        rest = _mm_crc32_u8(rest, std::to_integer<std::uint8_t>(byte));
    return ~rest;
}

}  // namespace

std::uint32_t crc32c_by_table(std::span<const std::byte> data, std::uint32_t before) {
    static constexpr std::array<std::uint32_t, 256> kTable = make_table();
    std::uint32_t crc = ~before;
    for (const std::byte byte : data)
        crc = (crc >> 8) ^ kTable[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xff];
    return ~crc;
}

std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t before) {
    static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
    return has_instruction ? by_instruction(data, before) : crc32c_by_table(data, before);
}

}  // namespace hako
