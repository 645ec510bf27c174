#include "vmm/bus/gsi_router.h"

#include <utility>
#include <vector>

#include "vmm/memory/layout.h"

namespace hako {

GsiRouter::GsiRouter(kvm::Vm& vm)
    : vm_(vm), limit_(static_cast<std::uint32_t>(vm.extension(KVM_CAP_IRQ_ROUTING))) {}

Result<std::uint32_t> GsiRouter::allocate_gsi() {
    const std::lock_guard lock(mutex_);
    std::uint32_t gsi = layout::kIoApicPins;
    for (const auto& [taken, message] : routes_) {
        if (taken != gsi) break;
        ++gsi;
    }
    if (gsi >= limit_) return fail_host("no interrupt route left: KVM has {}", limit_);
    routes_.emplace(gsi, MsiMessage{});
    return gsi;
}

void GsiRouter::free_gsi(std::uint32_t gsi) {
    const std::lock_guard lock(mutex_);
    // The stale entry stays in KVM's table until the next change: nothing is connected to it.
    routes_.erase(gsi);
}

Result<> GsiRouter::set_route(std::uint32_t gsi, const MsiMessage& message) {
    const std::lock_guard lock(mutex_);
    const MsiMessage old = std::exchange(routes_[gsi], message);
    if (held_) return {};
    auto done = apply();
    // KVM refuses the whole table for one bad message: do not let it stand in the way of the other routes.
    if (!done) routes_[gsi] = old;
    return done;
}

Result<> GsiRouter::connect(std::uint32_t gsi, int eventfd) {
    return vm_.assign_irqfd(eventfd, gsi);
}
Result<> GsiRouter::disconnect(std::uint32_t gsi, int eventfd) {
    return vm_.deassign_irqfd(eventfd, gsi);
}

void GsiRouter::hold_routes() {
    const std::lock_guard lock(mutex_);
    held_ = true;
}

Result<> GsiRouter::apply_routes() {
    const std::lock_guard lock(mutex_);
    held_ = false;
    return apply();
}

Result<> GsiRouter::apply() {
    std::vector<kvm_irq_routing_entry> table;
    const auto add_pin = [&table](std::uint32_t gsi, std::uint32_t chip, std::uint32_t pin) {
        kvm_irq_routing_entry entry{};
        entry.gsi = gsi;
        entry.type = KVM_IRQ_ROUTING_IRQCHIP;
        entry.u.irqchip.irqchip = chip;
        entry.u.irqchip.pin = pin;
        table.push_back(entry);
    };
    for (std::uint32_t pin = 0; pin < layout::kIoApicPins; ++pin) {
        if (pin < 8)
            add_pin(pin, KVM_IRQCHIP_PIC_MASTER, pin);
        else if (pin < 16)
            add_pin(pin, KVM_IRQCHIP_PIC_SLAVE, pin - 8);
        add_pin(pin, KVM_IRQCHIP_IOAPIC, pin);
    }
    for (const auto& [gsi, message] : routes_) {
        if (message == MsiMessage{}) continue;  // allocated, not yet pointed anywhere
        kvm_irq_routing_entry entry{};
        entry.gsi = gsi;
        entry.type = KVM_IRQ_ROUTING_MSI;
        entry.u.msi.address_lo = static_cast<std::uint32_t>(message.address);
        entry.u.msi.address_hi = static_cast<std::uint32_t>(message.address >> 32);
        entry.u.msi.data = message.data;
        table.push_back(entry);
    }
    return vm_.set_gsi_routing(table);
}

}  // namespace hako
