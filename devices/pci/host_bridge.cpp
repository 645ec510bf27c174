#include "devices/pci/host_bridge.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "vmm/memory/layout.h"

namespace hako::pci {
namespace {

constexpr std::uint64_t kFunctionShift = 12;
constexpr std::uint64_t kSlotShift = 15;
constexpr std::uint64_t kRegisterMask = 0xfff;

// CF8: bit 31 lets CFC through, 23:16 bus, 15:11 device, 10:8 function, 7:2 register.
constexpr std::uint32_t kConfigEnable = 0x80000000;
constexpr std::uint32_t kConfigAddressMask = 0x80fffffc;
constexpr std::uint64_t kDataPort = layout::kPortPciData - layout::kPortPciAddress;
constexpr std::uint64_t kPortCount = 8;

/// A host bridge without BARs or quirks. The ID is Red Hat's for a generic PCIe host bridge.
constexpr Identity kRootIdentity{.vendor = 0x1b36, .device = 0x0008, .class_code = 0x060000};

void fill_ones(std::span<std::byte> data) {
    std::ranges::fill(data, std::byte{0xff});
}

}  // namespace

class HostBridge::RootFunction final : public Function {
  public:
    RootFunction(AddressSpace& space, std::optional<Function::State> restored)
        : Function(space, "PCI host bridge", kRootIdentity, std::move(restored)) {}
    Result<> finish() { return finish_config(); }
    [[nodiscard]] Function::State state() const {
        const std::lock_guard lock(mutex());
        return function_state();
    }

  private:
    void read_bar(unsigned, std::uint64_t, std::span<std::byte> data) override { fill_ones(data); }
    void write_bar(unsigned, std::uint64_t, std::span<const std::byte>) override {}
};

HostBridge::HostBridge(AddressSpace& space, Bus& ports, std::uint16_t segment, std::uint32_t config_address)
    : space_(space), port_bus_(ports), segment_(segment), ecam_(*this), ports_(*this, config_address) {}

Result<std::unique_ptr<HostBridge>> HostBridge::create(AddressSpace& space, Bus& ports,
                                                       std::optional<State> restored, std::uint16_t segment) {
    const std::uint32_t config_address = restored ? restored->config_address & kConfigAddressMask : 0;
    std::unique_ptr<HostBridge> bridge(new HostBridge(space, ports, segment, config_address));
    std::optional<Function::State> root_state;
    if (restored) root_state = std::move(restored->function);
    bridge->root_ = std::make_unique<RootFunction>(space, std::move(root_state));
    HAKO_TRY(bridge->root_->finish());
    bridge->slots_[0] = bridge->root_.get();

    HAKO_TRY(space.mmio().insert(bridge->ecam_address(), layout::kEcamSize, bridge->ecam_, "PCI ECAM"));
    bridge->ecam_inserted_ = true;
    if (segment != 0) return bridge;
    HAKO_TRY(ports.insert(layout::kPortPciAddress, kPortCount, bridge->ports_, "PCI configuration ports"));
    bridge->ports_inserted_ = true;
    return bridge;
}

HostBridge::~HostBridge() {
    if (ecam_inserted_) space_.mmio().remove(ecam_address());
    if (ports_inserted_) port_bus_.remove(layout::kPortPciAddress);
}

Result<Bdf> HostBridge::add(Function& function, std::optional<std::uint8_t> slot) {
    const std::unique_lock lock(mutex_);
    if (!slot) {
        const auto free = std::ranges::find(slots_, nullptr);
        if (free == slots_.end())
            return fail_input("{}: all {} PCI slots are taken: remove a device", function.name(), kSlots);
        slot = static_cast<std::uint8_t>(free - slots_.begin());
    }
    if (*slot == 0 || *slot >= kSlots)
        return fail_input("{}: PCI slot {} is not one of 1 to {}", function.name(), *slot, kSlots - 1);
    if (slots_[*slot] != nullptr)
        return fail_input("{}: PCI slot {} is taken by {}", function.name(), *slot, slots_[*slot]->name());
    slots_[*slot] = &function;
    return Bdf{.bus = 0, .device = *slot, .function = 0, .segment = segment_};
}

Result<> HostBridge::remove(Bdf bdf) {
    const std::unique_lock lock(mutex_);
    if (bdf.segment != segment_ || bdf.bus != 0 || bdf.function != 0 || bdf.device == 0 ||
        bdf.device >= kSlots || slots_[bdf.device] == nullptr)
        return fail_input("there is no device to remove at {}", bdf.text());
    slots_[bdf.device] = nullptr;
    return {};
}

Function* HostBridge::find(Bdf bdf) const {
    const std::shared_lock lock(mutex_);
    return bdf.segment == segment_ && bdf.bus == 0 && bdf.function == 0 && bdf.device < kSlots
               ? slots_[bdf.device]
               : nullptr;
}

void HostBridge::read_config(std::uint64_t address, std::span<std::byte> data) const {
    fill_ones(data);
    if (address >= layout::kEcamSize || (address >> kFunctionShift) % kSlotFunctions != 0) return;
    const std::shared_lock lock(mutex_);
    Function* const function = slots_[address >> kSlotShift];
    if (function == nullptr) return;
    const auto offset = static_cast<std::uint32_t>(address & kRegisterMask);
    const std::size_t first = std::min<std::size_t>(data.size(), 4);
    function->read_config(offset, data.first(first));
    if (data.size() > first) function->read_config(offset + 4, data.subspan(first));
}

void HostBridge::write_config(std::uint64_t address, std::span<const std::byte> data) {
    if (address >= layout::kEcamSize || (address >> kFunctionShift) % kSlotFunctions != 0) return;
    const std::shared_lock lock(mutex_);
    Function* const function = slots_[address >> kSlotShift];
    if (function == nullptr) return;
    const auto offset = static_cast<std::uint32_t>(address & kRegisterMask);
    const std::size_t first = std::min<std::size_t>(data.size(), 4);
    function->write_config(offset, data.first(first));
    if (data.size() > first) function->write_config(offset + 4, data.subspan(first));
}

HostBridge::State HostBridge::state() const {
    return {.config_address = ports_.address(), .function = root_->state()};
}

void HostBridge::Ecam::read(std::uint64_t offset, std::span<std::byte> data) {
    bridge_.read_config(offset, data);
}
void HostBridge::Ecam::write(std::uint64_t offset, std::span<const std::byte> data) {
    bridge_.write_config(offset, data);
}

std::optional<std::uint64_t> HostBridge::Ports::target(std::uint64_t offset, std::size_t length) const {
    const std::uint32_t address = address_.load(std::memory_order_relaxed);
    if (offset < kDataPort || offset - kDataPort + length > 4) return std::nullopt;
    const bool on_bus_0 = (address >> 16 & 0xff) == 0;
    if ((address & kConfigEnable) == 0 || !on_bus_0) return std::nullopt;
    return std::uint64_t{address >> 8 & 0xff} << kFunctionShift | ((address & 0xfc) + (offset - kDataPort));
}

void HostBridge::Ports::read(std::uint64_t offset, std::span<std::byte> data) {
    fill_ones(data);
    if (offset == 0 && data.size() == 4) {
        store_le(data, address());
    } else if (const auto address = target(offset, data.size())) {
        bridge_.read_config(*address, data);
    }
}

void HostBridge::Ports::write(std::uint64_t offset, std::span<const std::byte> data) {
    if (offset == 0 && data.size() == 4) {
        address_.store(static_cast<std::uint32_t>(load_le(data)) & kConfigAddressMask,
                       std::memory_order_relaxed);
    } else if (const auto address = target(offset, data.size())) {
        bridge_.write_config(*address, data);
    }
}

}  // namespace hako::pci
