// The in-kernel interrupt controllers that belong to the VM: two PICs and the IOAPIC. There is no PIT.
#pragma once

#include <array>
#include <cstdint>

#include "vmm/base/result.h"
#include "vmm/kvm/fields.h"
#include "vmm/kvm/uapi.h"
#include "vmm/kvm/vm.h"

namespace hako::kvm {

struct IoApicState {
    std::uint64_t base_address = 0;
    std::uint32_t ioregsel = 0;
    std::uint32_t id = 0;
    std::uint32_t irr = 0;
    std::array<std::uint64_t, KVM_IOAPIC_NUM_PINS> redirection{};

    bool operator==(const IoApicState&) const = default;
};

struct IrqchipState {
    kvm_pic_state master{};
    kvm_pic_state slave{};
    IoApicState ioapic;
};

/// No vCPU runs.
Result<IrqchipState> save_irqchip(const Vm& vm);
Result<> restore_irqchip(Vm& vm, const IrqchipState& state);

}  // namespace hako::kvm

namespace hako::state {

template <>
struct Fields<kvm::IoApicState> {
    using T = kvm::IoApicState;
    static constexpr auto list =
        std::tuple(hex("base_address", &T::base_address), hex("ioregsel", &T::ioregsel), hex("id", &T::id),
                   hex("irr", &T::irr), hex("redirection", &T::redirection));
};

template <>
struct Fields<kvm::IrqchipState> {
    using T = kvm::IrqchipState;
    static constexpr auto list =
        std::tuple(field("master", &T::master), field("slave", &T::slave), field("ioapic", &T::ioapic));
};

}  // namespace hako::state
