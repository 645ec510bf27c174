// The checksum of saved state: CRC-32C. (RFC 3720, B.4)
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hako {

/// CRC-32C of `data`, or of what `before` is the checksum of and then `data`.
[[nodiscard]] std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t before = 0);
/// The same without the CPU's instruction for it.
[[nodiscard]] std::uint32_t crc32c_by_table(std::span<const std::byte> data, std::uint32_t before = 0);

}  // namespace hako
