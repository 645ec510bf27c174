#include "devices/pci/bdf.h"

#include <fmt/core.h>

namespace hako::pci {
namespace {

std::optional<unsigned> parse_hex(std::string_view digits) {
    unsigned value = 0;
    for (const char c : digits) {
        if (c >= '0' && c <= '9')
            value = value * 16 + static_cast<unsigned>(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value * 16 + static_cast<unsigned>(c - 'a' + 10);
        else
            return std::nullopt;
    }
    return value;
}

}  // namespace

std::string Bdf::text() const {
    return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", segment, bus, device, function);
}

std::optional<Bdf> Bdf::parse(std::string_view text) {
    if (text.size() != 12 || text[4] != ':' || text[7] != ':' || text[10] != '.') return std::nullopt;
    const auto segment = parse_hex(text.substr(0, 4));
    const auto bus = parse_hex(text.substr(5, 2));
    const auto device = parse_hex(text.substr(8, 2));
    const auto function = parse_hex(text.substr(11, 1));
    if (!segment || !bus || !device || *device >= kSlots || !function || *function >= kSlotFunctions)
        return std::nullopt;
    return Bdf{static_cast<std::uint8_t>(*bus), static_cast<std::uint8_t>(*device),
               static_cast<std::uint8_t>(*function), static_cast<std::uint16_t>(*segment)};
}

}  // namespace hako::pci
