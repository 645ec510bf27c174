// Bus 0 of a PCI segment: 32 slots behind ECAM and, of segment 0, the old CF8/CFC ports.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <span>

#include "devices/pci/address_space.h"
#include "devices/pci/bdf.h"
#include "devices/pci/function.h"
#include "vmm/base/result.h"
#include "vmm/bus/bus.h"
#include "vmm/memory/layout.h"
#include "vmm/state/fields.h"

namespace hako::pci {

/// Dispatches configuration accesses to functions, one a slot; absent functions read as all ones.
///
/// Slot 0 is the bridge itself. Functions are not owned and must be removed before they die. Accesses come
/// from any vCPU thread; add() and remove() from the control thread.
class HostBridge {
  public:
    struct State {
        std::uint32_t config_address = 0;  ///< the CF8 register
        Function::State function;

        bool operator==(const State&) const = default;
    };

    /// Answers on `space.mmio()` (from layout::kEcam on) and, in segment 0, on `ports`
    /// (layout::kPortPciAddress) for as long as it lives.
    static Result<std::unique_ptr<HostBridge>> create(AddressSpace& space, Bus& ports,
                                                      std::optional<State> restored = std::nullopt,
                                                      std::uint16_t segment = 0);
    HostBridge(const HostBridge&) = delete;
    HostBridge& operator=(const HostBridge&) = delete;
    ~HostBridge();

    /// Puts `function` into `slot` (1 to 31), or into the lowest free one. The guest sees it at once.
    Result<Bdf> add(Function& function, std::optional<std::uint8_t> slot = std::nullopt);
    /// Empties the slot; later accesses read all ones. Returns once no access to the function is under way.
    Result<> remove(Bdf bdf);
    [[nodiscard]] Function* find(Bdf bdf) const;

    /// A configuration access of 1, 2, 4 or 8 bytes by bus-0 address: slot << 15 | function << 12 | register.
    void read_config(std::uint64_t address, std::span<std::byte> data) const;
    void write_config(std::uint64_t address, std::span<const std::byte> data);

    [[nodiscard]] State state() const;

  private:
    class RootFunction;
    /// Memory-mapped configuration space (PCI Express, 7.2.2).
    class Ecam final : public BusDevice {
      public:
        explicit Ecam(HostBridge& bridge) : bridge_(bridge) {}
        void read(std::uint64_t offset, std::span<std::byte> data) override;
        void write(std::uint64_t offset, std::span<const std::byte> data) override;

      private:
        HostBridge& bridge_;
    };
    /// Configuration mechanism #1: an address register at CF8, a window at CFC (PCI 3.0, 3.2.2.3.2).
    class Ports final : public BusDevice {
      public:
        Ports(HostBridge& bridge, std::uint32_t address) : bridge_(bridge), address_(address) {}
        void read(std::uint64_t offset, std::span<std::byte> data) override;
        void write(std::uint64_t offset, std::span<const std::byte> data) override;
        [[nodiscard]] std::uint32_t address() const { return address_.load(std::memory_order_relaxed); }

      private:
        [[nodiscard]] std::optional<std::uint64_t> target(std::uint64_t offset, std::size_t length) const;

        HostBridge& bridge_;
        std::atomic<std::uint32_t> address_;  ///< one word, so that vCPUs need no lock for it
    };

    HostBridge(AddressSpace& space, Bus& ports, std::uint16_t segment, std::uint32_t config_address);
    [[nodiscard]] std::uint64_t ecam_address() const { return layout::kEcam + segment_ * layout::kEcamSize; }

    AddressSpace& space_;
    Bus& port_bus_;
    const std::uint16_t segment_;
    std::unique_ptr<RootFunction> root_;
    Ecam ecam_;
    Ports ports_;
    bool ecam_inserted_ = false;
    bool ports_inserted_ = false;
    mutable std::shared_mutex
        mutex_;  ///< shared while an access is under way, so that remove() can wait for it
    std::array<Function*, kSlots> slots_{};
};

}  // namespace hako::pci

namespace hako::state {

template <>
struct Fields<pci::HostBridge::State> {
    using T = pci::HostBridge::State;
    static constexpr auto list =
        std::tuple(hex("config_address", &T::config_address), field("function", &T::function));
};

}  // namespace hako::state
