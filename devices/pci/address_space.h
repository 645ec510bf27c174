// Which guest-physical addresses PCI BARs may have, and who got which.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "devices/pci/config_space.h"
#include "vmm/base/result.h"
#include "vmm/bus/bus.h"
#include "vmm/memory/guest_address.h"

namespace hako::pci {

/// Addresses that the host bridge passes on to PCI.
struct Window {
    std::uint64_t base = 0;
    std::uint64_t size = 0;

    bool operator==(const Window&) const = default;
};

struct Windows {
    Window low;   ///< below 4 GiB, for 32-bit BARs
    Window high;  ///< above RAM, for 64-bit BARs

    bool operator==(const Windows&) const = default;
};

/// The windows of one of `segments` PCI segments of a VM whose RAM ends at `ram_end` (GuestMemory::end());
/// ACPI's _CRS reports the same.
[[nodiscard]] Windows windows_above(GuestAddress ram_end, std::uint16_t segment = 0,
                                    std::uint16_t segments = 1);

/// Gives out BAR addresses, since there is no firmware to do so, and says which addresses are PCI's at all.
/// Safe from any thread. The bus must outlive it.
class AddressSpace {
  public:
    AddressSpace(Bus& mmio, const Windows& windows) : mmio_(mmio), windows_(windows) {}

    /// The lowest free range of `size` bytes (a power of two), aligned to its size.
    Result<std::uint64_t> allocate(BarType type, std::uint64_t size);
    /// Takes a range that allocate() gave out in an earlier life of the VM.
    Result<> reserve(std::uint64_t base, std::uint64_t size);
    void release(std::uint64_t base);

    /// True if the range lies inside one window: a BAR anywhere else (RAM, ECAM, APICs …) is not decoded.
    [[nodiscard]] bool decodes(std::uint64_t base, std::uint64_t size) const;

    [[nodiscard]] const Windows& windows() const { return windows_; }
    [[nodiscard]] Bus& mmio() const { return mmio_; }

  private:
    Bus& mmio_;
    Windows windows_;
    std::mutex mutex_;
    std::map<std::uint64_t, std::uint64_t> taken_;  ///< base -> size
};

}  // namespace hako::pci
