// The 4096-byte configuration space of a type-0 function: which bits the guest may change, and what they say.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/base/result.h"
#include "vmm/state/fields.h"

namespace hako::pci {

/// Offsets in a type-0 header (PCI 3.0, 6.1).
namespace reg {
inline constexpr std::uint16_t kVendorId = 0x00;
inline constexpr std::uint16_t kDeviceId = 0x02;
inline constexpr std::uint16_t kCommand = 0x04;
inline constexpr std::uint16_t kStatus = 0x06;
inline constexpr std::uint16_t kRevision = 0x08;
inline constexpr std::uint16_t kClassCode = 0x09;  ///< 3 bytes: interface, subclass, class
inline constexpr std::uint16_t kHeaderType = 0x0e;
inline constexpr std::uint16_t kBar0 = 0x10;
inline constexpr std::uint16_t kSubsystemVendorId = 0x2c;
inline constexpr std::uint16_t kSubsystemId = 0x2e;
inline constexpr std::uint16_t kCapabilities = 0x34;
inline constexpr std::uint16_t kInterruptLine = 0x3c;
inline constexpr std::uint16_t kInterruptPin = 0x3d;
}  // namespace reg

/// Bits of the command register (PCI 3.0, 6.2.2).
namespace command {
inline constexpr std::uint16_t kMemory = 1 << 1;
inline constexpr std::uint16_t kBusMaster = 1 << 2;
inline constexpr std::uint16_t kParityResponse = 1 << 6;
inline constexpr std::uint16_t kSerr = 1 << 8;
inline constexpr std::uint16_t kInterruptDisable = 1 << 10;
}  // namespace command

/// Capability IDs (PCI Code and ID Assignment, 2).
namespace capability {
inline constexpr std::uint8_t kVendor = 0x09;
inline constexpr std::uint8_t kMsix = 0x11;
}  // namespace capability

inline constexpr unsigned kBars = 6;
enum class BarType : std::uint8_t { kMemory32, kMemory64 };

/// What a function is.
struct Identity {
    std::uint16_t vendor = 0;
    std::uint16_t device = 0;
    std::uint32_t class_code = 0;  ///< 24 bits: class, subclass, interface
    std::uint8_t revision = 0;
    std::uint16_t subsystem_vendor = 0;
    std::uint16_t subsystem = 0;
};

/// Bytes and their masks. Not locked: Function does that.
///
/// Built once (identity, BARs, capabilities), then read and written by the guest. What the guest wrote is the
/// state; all else follows from how it was built.
class ConfigSpace {
  public:
    static constexpr std::uint16_t kSize = 4096;

    struct State {
        std::array<std::uint8_t, kSize> bytes{};

        bool operator==(const State&) const = default;
    };

    explicit ConfigSpace(const Identity& identity);

    /// A memory BAR of `size` bytes (a power of two, 16 at least). A 64-bit one takes `index` and the next.
    Result<> add_bar(unsigned index, BarType type, std::uint64_t size);
    /// Appends a capability: `body` follows the ID and next bytes; `writable` says which of its bits the
    /// guest may change (shorter or empty: the rest is read-only). Returns its offset. Fails when the
    /// 256-byte space is full.
    Result<std::uint16_t> add_capability(std::uint8_t id, std::span<const std::uint8_t> body,
                                         std::span<const std::uint8_t> writable = {});

    /// A register of the device's own of `size` bytes (1 to 4), at first 0; the guest may change the bits of
    /// `writable`. Fails below the capabilities and where something is.
    Result<> add_register(std::uint16_t offset, std::size_t size, std::uint32_t writable);

    /// Any width at any offset; bytes beyond the end read as ones and swallow writes.
    void read(std::uint32_t offset, std::span<std::byte> data) const;
    void write(std::uint32_t offset, std::span<const std::byte> data);

    /// The device's own look, little-endian, without masks. `offset` is the device's: it lies inside.
    [[nodiscard]] std::uint8_t get8(std::uint16_t offset) const { return bytes_.at(offset); }
    [[nodiscard]] std::uint16_t get16(std::uint16_t offset) const;
    [[nodiscard]] std::uint32_t get32(std::uint16_t offset) const;
    void set(std::uint16_t offset, std::span<const std::uint8_t> value);

    [[nodiscard]] bool memory_enabled() const { return (get16(reg::kCommand) & command::kMemory) != 0; }
    [[nodiscard]] bool bus_master() const { return (get16(reg::kCommand) & command::kBusMaster) != 0; }

    /// Address in a BAR that add_bar() made, whether decoded or not. While the guest sizes it: its size mask.
    [[nodiscard]] std::uint64_t bar(unsigned index) const;
    void set_bar(unsigned index, std::uint64_t address);

    [[nodiscard]] State state() const { return {bytes_}; }
    /// Takes over what the guest had written. Fails if `state` is that of a function built differently.
    Result<> restore(const State& state);

  private:
    void set16(std::uint16_t offset, std::uint16_t value);
    void set32(std::uint16_t offset, std::uint32_t value);

    struct Bar {
        bool present = false;
        bool upper = false;  ///< holds the upper half of the 64-bit BAR before it
        BarType type = BarType::kMemory32;
        std::uint64_t size = 0;
    };

    std::array<std::uint8_t, kSize> bytes_{};
    std::array<std::uint8_t, kSize> writable_{};   ///< bits the guest may set and clear
    std::array<std::uint8_t, kSize> clearable_{};  ///< bits that writing 1 clears
    std::array<Bar, kBars> bars_{};
    std::uint16_t next_capability_ = 0x40;
    std::uint16_t last_link_ = reg::kCapabilities;  ///< the pointer that the next capability is hung on
};

}  // namespace hako::pci

namespace hako::state {

template <>
struct Fields<pci::ConfigSpace::State> {
    static constexpr auto list = std::tuple(field("bytes", &pci::ConfigSpace::State::bytes));
};

}  // namespace hako::state
