// Where a PCI function sits: segment, bus, device (slot) and function number.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hako::pci {

inline constexpr std::uint8_t kSlots = 32;         ///< devices on a bus
inline constexpr std::uint8_t kSlotFunctions = 8;  ///< functions of a device

struct Bdf {
    std::uint8_t bus = 0;
    std::uint8_t device = 0;    ///< 0 to 31
    std::uint8_t function = 0;  ///< 0 to 7
    std::uint16_t segment = 0;

    constexpr auto operator<=>(const Bdf&) const = default;

    /// "0000:00:06.0", as lspci -D prints it.
    [[nodiscard]] std::string text() const;
    /// Reads what text() writes, and nothing else.
    static std::optional<Bdf> parse(std::string_view text);
};

}  // namespace hako::pci
