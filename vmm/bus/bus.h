// Address decoding for port I/O and MMIO: a range belongs to one device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>

#include "vmm/base/result.h"

namespace hako {

/// What answers accesses to a range. Called from any vCPU thread, several at once: the device locks its own
/// state.
class BusDevice {
  public:
    virtual ~BusDevice() = default;
    /// Fills `data` (1, 2, 4 or 8 bytes, little-endian) from `offset` within the device's range.
    virtual void read(std::uint64_t offset, std::span<std::byte> data) = 0;
    virtual void write(std::uint64_t offset, std::span<const std::byte> data) = 0;
};

/// Little-endian value of an access of 1 to 8 bytes.
inline std::uint64_t load_le(std::span<const std::byte> data) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < data.size() && i < 8; ++i)
        value |= std::to_integer<std::uint64_t>(data[i]) << (8 * i);
    return value;
}
inline void store_le(std::span<std::byte> data, std::uint64_t value) {
    for (std::size_t i = 0; i < data.size(); ++i)
        data[i] = i < 8 ? static_cast<std::byte>(value >> (8 * i)) : std::byte{0};
}

/// One address space (ports or MMIO). Devices are not owned and must outlive their range.
///
/// The lock covers the look-up only, not the device's answer, so a device may move its own range while it
/// answers. Ranges may vanish for good only while no vCPU runs. Data-path kicks never come here: ioeventfd.
class Bus {
  public:
    /// Fails if the range is empty, wraps or overlaps another.
    Result<> insert(std::uint64_t base, std::uint64_t size, BusDevice& device, std::string name);
    /// Forgets the range that starts at `base`; true if there was one.
    bool remove(std::uint64_t base);

    /// What nobody answers in this one range reads as zeros. Before any access.
    void set_quiet(std::uint64_t base, std::uint64_t size) {
        quiet_base_ = base;
        quiet_size_ = size;
    }

    /// False if nothing answers (the bytes are then all ones, as on hardware, outside the quiet range).
    bool read(std::uint64_t address, std::span<std::byte> data);
    bool write(std::uint64_t address, std::span<const std::byte> data);

  private:
    struct Range {
        std::uint64_t size;
        BusDevice* device;
        std::string name;
    };
    struct Target {
        BusDevice* device;
        std::uint64_t offset;
    };
    [[nodiscard]] Target find(std::uint64_t address, std::size_t length) const;

    mutable std::shared_mutex mutex_;
    std::map<std::uint64_t, Range> ranges_;
    std::uint64_t quiet_base_ = 0;
    std::uint64_t quiet_size_ = 0;
};

}  // namespace hako
