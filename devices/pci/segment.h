// A PCI segment: its addresses and its host bridge.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "devices/pci/address_space.h"
#include "devices/pci/host_bridge.h"
#include "vmm/base/result.h"
#include "vmm/bus/bus.h"
#include "vmm/memory/guest_address.h"

namespace hako::pci {

struct Segment {
    /// Segment `number` of `count` of a VM whose RAM ends at `ram_end`. The buses outlive it.
    static Result<std::unique_ptr<Segment>> create(Bus& mmio, Bus& ports, GuestAddress ram_end,
                                                   std::uint16_t number, std::uint16_t count,
                                                   std::optional<HostBridge::State> restored = std::nullopt) {
        std::unique_ptr<Segment> segment(
            new Segment{.space{mmio, windows_above(ram_end, number, count)}, .bridge{}});
        segment->bridge = HAKO_TRY(HostBridge::create(segment->space, ports, std::move(restored), number));
        return segment;
    }

    AddressSpace space;
    std::unique_ptr<HostBridge> bridge;
};

}  // namespace hako::pci
