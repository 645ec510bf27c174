#include "vmm/kvm/irqchip_state.h"

namespace hako::kvm {

Result<IrqchipState> save_irqchip(const Vm& vm) {
    const kvm_irqchip master = HAKO_TRY(vm.irqchip(KVM_IRQCHIP_PIC_MASTER));
    const kvm_irqchip slave = HAKO_TRY(vm.irqchip(KVM_IRQCHIP_PIC_SLAVE));
    const kvm_irqchip ioapic = HAKO_TRY(vm.irqchip(KVM_IRQCHIP_IOAPIC));
    IrqchipState state{.master = master.chip.pic, .slave = slave.chip.pic, .ioapic = {}};
    const kvm_ioapic_state& saved = ioapic.chip.ioapic;
    state.ioapic.base_address = saved.base_address;
    state.ioapic.ioregsel = saved.ioregsel;
    state.ioapic.id = saved.id;
    state.ioapic.irr = saved.irr;
    for (std::size_t pin = 0; pin < state.ioapic.redirection.size(); ++pin)
        state.ioapic.redirection[pin] = saved.redirtbl[pin].bits;
    return state;
}

Result<> restore_irqchip(Vm& vm, const IrqchipState& state) {
    kvm_irqchip chip{};
    chip.chip_id = KVM_IRQCHIP_PIC_MASTER;
    chip.chip.pic = state.master;
    HAKO_TRY(vm.set_irqchip(chip));
    chip = {};
    chip.chip_id = KVM_IRQCHIP_PIC_SLAVE;
    chip.chip.pic = state.slave;
    HAKO_TRY(vm.set_irqchip(chip));
    chip = {};
    chip.chip_id = KVM_IRQCHIP_IOAPIC;
    kvm_ioapic_state& ioapic = chip.chip.ioapic;
    ioapic.base_address = state.ioapic.base_address;
    ioapic.ioregsel = state.ioapic.ioregsel;
    ioapic.id = state.ioapic.id;
    ioapic.irr = state.ioapic.irr;
    for (std::size_t pin = 0; pin < state.ioapic.redirection.size(); ++pin)
        ioapic.redirtbl[pin].bits = state.ioapic.redirection[pin];
    return vm.set_irqchip(chip);
}

}  // namespace hako::kvm
