#include "devices/pci/config_space.h"

#include <algorithm>
#include <bit>

#include "vmm/base/units.h"

namespace hako::pci {
namespace {

constexpr std::uint16_t kStatusCapabilities = 1 << 4;
/// Error bits of the status register: writing 1 clears them (PCI 3.0, 6.2.3).
constexpr std::uint16_t kStatusErrors = 0xf900;
constexpr std::uint16_t kCacheLineSize = 0x0c;
constexpr std::uint32_t kBarIs64Bit = 0x4;
constexpr std::uint64_t kMinBarSize = 16;
constexpr std::uint64_t kMaxBar32 = 2 * GiB;
constexpr std::uint16_t kCapabilitiesEnd = 0x100;
constexpr std::uint16_t kCapabilityHeader = 2;

constexpr std::uint16_t bar_offset(unsigned index) {
    return static_cast<std::uint16_t>(reg::kBar0 + 4 * index);
}

void put16(std::array<std::uint8_t, ConfigSpace::kSize>& bytes, std::uint16_t offset, std::uint16_t value) {
    bytes.at(offset) = static_cast<std::uint8_t>(value);
    bytes.at(offset + 1U) = static_cast<std::uint8_t>(value >> 8);
}
void put32(std::array<std::uint8_t, ConfigSpace::kSize>& bytes, std::uint16_t offset, std::uint32_t value) {
    put16(bytes, offset, static_cast<std::uint16_t>(value));
    put16(bytes, static_cast<std::uint16_t>(offset + 2), static_cast<std::uint16_t>(value >> 16));
}

}  // namespace

ConfigSpace::ConfigSpace(const Identity& identity) {
    put16(bytes_, reg::kVendorId, identity.vendor);
    put16(bytes_, reg::kDeviceId, identity.device);
    // Revision and class code share a dword.
    put32(bytes_, reg::kRevision, identity.class_code << 8 | identity.revision);
    put16(bytes_, reg::kSubsystemVendorId, identity.subsystem_vendor);
    put16(bytes_, reg::kSubsystemId, identity.subsystem);

    put16(writable_, reg::kCommand,
          command::kMemory | command::kBusMaster | command::kParityResponse | command::kSerr |
              command::kInterruptDisable);
    put16(clearable_, reg::kStatus, kStatusErrors);
    writable_[kCacheLineSize] = 0xff;
    writable_[reg::kInterruptLine] = 0xff;
}

Result<> ConfigSpace::add_bar(unsigned index, BarType type, std::uint64_t size) {
    const bool wide = type == BarType::kMemory64;
    if (index + (wide ? 1 : 0) >= kBars || bars_[index].present || bars_[index].upper)
        return fail_host("BAR {} is not free", index);
    if (wide && (bars_[index + 1].present || bars_[index + 1].upper))
        return fail_host("BAR {} is not free for the upper half of BAR {}", index + 1, index);
    if (!std::has_single_bit(size) || size < kMinBarSize || (!wide && size > kMaxBar32))
        return fail_host("BAR {}: {:#x} is no size for a BAR", index, size);

    const std::uint64_t mask = ~(size - 1);
    bars_[index] = {.present = true, .upper = false, .type = type, .size = size};
    put32(writable_, bar_offset(index), static_cast<std::uint32_t>(mask));
    if (wide) {
        bars_[index + 1].upper = true;
        put32(bytes_, bar_offset(index), kBarIs64Bit);
        put32(writable_, bar_offset(index + 1), static_cast<std::uint32_t>(mask >> 32));
    }
    return {};
}

Result<std::uint16_t> ConfigSpace::add_capability(std::uint8_t id, std::span<const std::uint8_t> body,
                                                  std::span<const std::uint8_t> writable) {
    const std::uint16_t offset = next_capability_;
    if (body.size() + kCapabilityHeader > static_cast<std::size_t>(kCapabilitiesEnd - offset))
        return fail_host("capability {:#x}: {} bytes at {:#x} do not fit below 0x100", id, body.size(),
                         offset);
    if (writable.size() > body.size())
        return fail_host("capability {:#x}: a mask of {} bytes for {}", id, writable.size(), body.size());

    bytes_[last_link_] = static_cast<std::uint8_t>(offset);
    bytes_[offset] = id;
    bytes_[offset + 1U] = 0;
    std::ranges::copy(body, bytes_.begin() + offset + kCapabilityHeader);
    std::ranges::copy(writable, writable_.begin() + offset + kCapabilityHeader);
    last_link_ = static_cast<std::uint16_t>(offset + 1);
    // PCI 3.0, 6.7: capabilities are aligned to dwords.
    next_capability_ = static_cast<std::uint16_t>(align_up(offset + kCapabilityHeader + body.size(), 4));
    set16(reg::kStatus, get16(reg::kStatus) | kStatusCapabilities);
    return offset;
}

Result<> ConfigSpace::add_register(std::uint16_t offset, std::size_t size, std::uint32_t writable) {
    if (size == 0 || size > sizeof writable || offset < next_capability_ || offset + size > kSize)
        return fail_host("register {:#x}: {} bytes have no place there", offset, size);
    for (std::size_t i = 0; i < size; ++i) {
        if (writable_[offset + i] != 0) return fail_host("register {:#x}: there is one already", offset);
        writable_[offset + i] = static_cast<std::uint8_t>(writable >> (8 * i));
    }
    return {};
}

void ConfigSpace::read(std::uint32_t offset, std::span<std::byte> data) const {
    for (std::size_t i = 0; i < data.size(); ++i) {
        const std::uint64_t at = std::uint64_t{offset} + i;
        data[i] = at < kSize ? std::byte{bytes_[at]} : std::byte{0xff};
    }
}

void ConfigSpace::write(std::uint32_t offset, std::span<const std::byte> data) {
    for (std::size_t i = 0; i < data.size(); ++i) {
        const std::uint64_t at = std::uint64_t{offset} + i;
        if (at >= kSize) return;
        const auto value = std::to_integer<unsigned>(data[i]);
        const unsigned mask = writable_[at];
        const unsigned written = (bytes_[at] & ~mask) | (value & mask);
        bytes_[at] = static_cast<std::uint8_t>(written & ~(value & clearable_[at]));
    }
}

std::uint16_t ConfigSpace::get16(std::uint16_t offset) const {
    return static_cast<std::uint16_t>(bytes_.at(offset) | bytes_.at(offset + 1U) << 8);
}

std::uint32_t ConfigSpace::get32(std::uint16_t offset) const {
    return get16(offset) | std::uint32_t{get16(static_cast<std::uint16_t>(offset + 2))} << 16;
}

void ConfigSpace::set(std::uint16_t offset, std::span<const std::uint8_t> value) {
    for (std::size_t i = 0; i < value.size(); ++i)
        bytes_.at(offset + i) = value[i];
}

std::uint64_t ConfigSpace::bar(unsigned index) const {
    const Bar& bar = bars_.at(index);
    std::uint64_t address = get32(bar_offset(index));
    if (bar.type == BarType::kMemory64) address |= std::uint64_t{get32(bar_offset(index + 1))} << 32;
    return address & ~std::uint64_t{0xf};
}

void ConfigSpace::set_bar(unsigned index, std::uint64_t address) {
    const bool wide = bars_.at(index).type == BarType::kMemory64;
    set32(bar_offset(index), static_cast<std::uint32_t>(address) | (wide ? kBarIs64Bit : 0));
    if (wide) set32(bar_offset(index + 1), static_cast<std::uint32_t>(address >> 32));
}

Result<> ConfigSpace::restore(const State& state) {
    for (std::size_t i = 0; i < kSize; ++i) {
        const unsigned fixed = ~unsigned{writable_[i]};
        if (((state.bytes[i] ^ bytes_[i]) & fixed & 0xff) != 0)
            return fail_input(
                "byte {:#x} of the saved PCI configuration is {:#x}, this device has {:#x}: it was saved "
                "from "
                "a different device",
                i, state.bytes[i], bytes_[i]);
    }
    bytes_ = state.bytes;
    return {};
}

void ConfigSpace::set16(std::uint16_t offset, std::uint16_t value) {
    put16(bytes_, offset, value);
}
void ConfigSpace::set32(std::uint16_t offset, std::uint32_t value) {
    put32(bytes_, offset, value);
}

}  // namespace hako::pci
