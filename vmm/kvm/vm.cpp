#include "vmm/kvm/vm.h"

#include <cstring>

#include "vmm/kvm/ioctl.h"
#include "vmm/kvm/vcpu.h"

namespace hako::kvm {

int Vm::extension(std::uint32_t capability) const {
    const int value = ioctl_retry(fd_.get(), KVM_CHECK_EXTENSION, capability);
    return value < 0 ? 0 : value;
}

Result<> Vm::enable_capability(std::uint32_t capability, std::uint64_t argument) {
    kvm_enable_cap request{};
    request.cap = capability;
    request.args[0] = argument;
    if (ioctl_retry(fd_.get(), KVM_ENABLE_CAP, &request) < 0)
        return fail_errno(errno, "KVM_ENABLE_CAP {} ({:#x})", capability, argument);
    return {};
}

Result<> Vm::set_memory_slot(std::uint32_t slot, std::uint64_t guest_address, void* host, std::uint64_t size,
                             std::uint32_t flags) {
    kvm_userspace_memory_region region{};
    region.slot = slot;
    region.flags = flags;
    region.guest_phys_addr = guest_address;
    region.memory_size = size;
    region.userspace_addr = reinterpret_cast<std::uint64_t>(host);
    if (ioctl_retry(fd_.get(), KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return fail_errno(errno, "KVM_SET_USER_MEMORY_REGION slot {} at {:#x}+{:#x}", slot, guest_address,
                          size);
    return {};
}

Result<> Vm::dirty_log(std::uint32_t slot, std::span<std::uint64_t> bits) {
    kvm_dirty_log request{};
    request.slot = slot;
    request.dirty_bitmap = bits.data();
    if (ioctl_retry(fd_.get(), KVM_GET_DIRTY_LOG, &request) < 0)
        return fail_errno(errno, "KVM_GET_DIRTY_LOG slot {}", slot);
    return {};
}

Result<> Vm::clear_dirty_log(std::uint32_t slot, std::uint64_t first_page, std::uint64_t pages,
                             std::span<const std::uint64_t> bits) {
    kvm_clear_dirty_log request{};
    request.slot = slot;
    request.first_page = first_page;
    request.num_pages = static_cast<std::uint32_t>(pages);
    request.dirty_bitmap = const_cast<std::uint64_t*>(bits.data());  // the kernel only reads it
    if (ioctl_retry(fd_.get(), KVM_CLEAR_DIRTY_LOG, &request) < 0)
        return fail_errno(errno, "KVM_CLEAR_DIRTY_LOG slot {}, {} pages from {}", slot, pages, first_page);
    return {};
}

Result<> Vm::use_dirty_rings(std::uint32_t entries) {
    HAKO_TRY(enable_capability(KVM_CAP_DIRTY_LOG_RING, std::uint64_t{entries} * sizeof(kvm_dirty_gfn)));
    rings_ = std::make_unique<DirtyRings>(entries);
    return {};
}

Result<> Vm::take_dirty_rings(const std::function<void(std::uint32_t slot, std::uint64_t page)>& page) {
    return rings_->take(fd_.get(), page);
}

Result<> Vm::set_tss_and_identity_map(std::uint64_t tss, std::uint64_t identity_map) {
    if (ioctl_retry(fd_.get(), KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0)
        return fail_errno(errno, "KVM_SET_IDENTITY_MAP_ADDR");
    if (ioctl_retry(fd_.get(), KVM_SET_TSS_ADDR, tss) < 0) return fail_errno(errno, "KVM_SET_TSS_ADDR");
    return {};
}

Result<> Vm::create_irqchip() {
    if (ioctl_retry(fd_.get(), KVM_CREATE_IRQCHIP, 0) < 0) return fail_errno(errno, "KVM_CREATE_IRQCHIP");
    return {};
}

Result<kvm_irqchip> Vm::irqchip(std::uint32_t chip) const {
    kvm_irqchip state{};
    state.chip_id = chip;
    if (ioctl_retry(fd_.get(), KVM_GET_IRQCHIP, &state) < 0)
        return fail_errno(errno, "KVM_GET_IRQCHIP {}", chip);
    return state;
}
Result<> Vm::set_irqchip(const kvm_irqchip& chip) {
    if (ioctl_retry(fd_.get(), KVM_SET_IRQCHIP, &chip) < 0)
        return fail_errno(errno, "KVM_SET_IRQCHIP {}", chip.chip_id);
    return {};
}

Result<kvm_clock_data> Vm::clock() const {
    kvm_clock_data clock{};
    if (ioctl_retry(fd_.get(), KVM_GET_CLOCK, &clock) < 0) return fail_errno(errno, "KVM_GET_CLOCK");
    return clock;
}
Result<> Vm::set_clock(const kvm_clock_data& clock) {
    if (ioctl_retry(fd_.get(), KVM_SET_CLOCK, &clock) < 0) return fail_errno(errno, "KVM_SET_CLOCK");
    return {};
}

std::size_t Vm::xsave_size() const {
    const int size = extension(KVM_CAP_XSAVE2);
    return size > static_cast<int>(sizeof(kvm_xsave)) ? static_cast<std::size_t>(size) : sizeof(kvm_xsave);
}

Result<> Vm::set_gsi_routing(std::span<const kvm_irq_routing_entry> entries) {
    const auto table = make_flexible<kvm_irq_routing, kvm_irq_routing_entry>(entries.size());
    table->nr = static_cast<std::uint32_t>(entries.size());
    std::memcpy(table->entries, entries.data(), entries.size_bytes());
    if (ioctl_retry(fd_.get(), KVM_SET_GSI_ROUTING, table.get()) < 0)
        return fail_errno(errno, "KVM_SET_GSI_ROUTING");
    return {};
}

Result<> Vm::signal_msi(std::uint64_t address, std::uint32_t data) {
    kvm_msi message{};
    message.address_lo = static_cast<std::uint32_t>(address);
    message.address_hi = static_cast<std::uint32_t>(address >> 32);
    message.data = data;
    if (ioctl_retry(fd_.get(), KVM_SIGNAL_MSI, &message) < 0) return fail_errno(errno, "KVM_SIGNAL_MSI");
    return {};
}

Result<> Vm::irqfd(int eventfd, std::uint32_t gsi, std::uint32_t flags) {
    kvm_irqfd request{};
    request.fd = static_cast<std::uint32_t>(eventfd);
    request.gsi = gsi;
    request.flags = flags;
    if (ioctl_retry(fd_.get(), KVM_IRQFD, &request) < 0)
        return fail_errno(errno, "KVM_IRQFD for GSI {}", gsi);
    return {};
}

Result<> Vm::assign_irqfd(int eventfd, std::uint32_t gsi) {
    return irqfd(eventfd, gsi, 0);
}
Result<> Vm::deassign_irqfd(int eventfd, std::uint32_t gsi) {
    return irqfd(eventfd, gsi, KVM_IRQFD_FLAG_DEASSIGN);
}

Result<> Vm::ioeventfd(int eventfd, const IoEventAddress& address, std::uint32_t flags) {
    kvm_ioeventfd request{};
    request.fd = eventfd;
    request.addr = address.address;
    request.len = address.length;
    request.flags = flags;
    if (address.space == IoEventAddress::Space::kPio) request.flags |= KVM_IOEVENTFD_FLAG_PIO;
    if (address.value) {
        request.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
        request.datamatch = *address.value;
    }
    if (ioctl_retry(fd_.get(), KVM_IOEVENTFD, &request) < 0)
        return fail_errno(errno, "KVM_IOEVENTFD at {:#x}", address.address);
    return {};
}

Result<> Vm::assign_ioeventfd(int eventfd, const IoEventAddress& address) {
    return ioeventfd(eventfd, address, 0);
}
Result<> Vm::deassign_ioeventfd(int eventfd, const IoEventAddress& address) {
    return ioeventfd(eventfd, address, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

std::uint32_t Vm::tsc_khz() const {
    const int khz = ioctl_retry(fd_.get(), KVM_GET_TSC_KHZ, 0);
    return khz > 0 ? static_cast<std::uint32_t>(khz) : 0;
}

Result<Vcpu> Vm::create_vcpu(std::uint32_t id) {
    Fd vcpu(ioctl_retry(fd_.get(), KVM_CREATE_VCPU, static_cast<unsigned long>(id)));
    if (!vcpu.valid()) return fail_errno(errno, "KVM_CREATE_VCPU {}", id);
    if (rings_) HAKO_TRY_WRAP(rings_->add(vcpu.get()), "vCPU {}", id);
    return Vcpu::adopt(std::move(vcpu), vcpu_mmap_size_, id);
}

}  // namespace hako::kvm
