// One KVM VM: memory slots, the in-kernel interrupt controllers, ioeventfds and irqfds, vCPUs. No policy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/kvm/dirty_rings.h"
#include "vmm/kvm/uapi.h"

namespace hako::kvm {

class Vcpu;

/// Where an ioeventfd listens.
struct IoEventAddress {
    enum class Space { kMmio, kPio };
    Space space = Space::kMmio;
    std::uint64_t address = 0;
    std::uint32_t length = 0;              ///< 1, 2, 4, 8, or 0 for any length (MMIO only)
    std::optional<std::uint64_t> value{};  ///< only writes of this value, if given
};

/// Owns the VM's file descriptor. Methods are ioctls of the same name and may be called from any thread.
class Vm {
  public:
    Vm(Fd fd, std::size_t vcpu_mmap_size) : fd_(std::move(fd)), vcpu_mmap_size_(vcpu_mmap_size) {}

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] int extension(std::uint32_t capability) const;
    Result<> enable_capability(std::uint32_t capability, std::uint64_t argument);

    /// KVM_SET_USER_MEMORY_REGION. Size 0 removes the slot.
    Result<> set_memory_slot(std::uint32_t slot, std::uint64_t guest_address, void* host, std::uint64_t size,
                             std::uint32_t flags);
    /// KVM_GET_DIRTY_LOG: one bit a page, 64 in a word; `bits` has room for all of the slot's.
    Result<> dirty_log(std::uint32_t slot, std::span<std::uint64_t> bits);
    /// KVM_CLEAR_DIRTY_LOG: pages of which the bit is set are clean and protected again. `first_page` is a
    /// multiple of 64, and so is `pages`, unless they end the slot.
    Result<> clear_dirty_log(std::uint32_t slot, std::uint64_t first_page, std::uint64_t pages,
                             std::span<const std::uint64_t> bits);
    /// KVM_CAP_DIRTY_LOG_RING: from now on vCPUs have rings of so many entries (a power of two, 1024 at
    /// least), and dirty_log() fails. Before there is a vCPU.
    Result<> use_dirty_rings(std::uint32_t entries);
    [[nodiscard]] bool has_dirty_rings() const { return rings_ != nullptr; }
    /// DirtyRings::take().
    Result<> take_dirty_rings(const std::function<void(std::uint32_t slot, std::uint64_t page)>& page);
    /// KVM_SET_TSS_ADDR and KVM_SET_IDENTITY_MAP_ADDR: pages that Intel hosts without "unrestricted guest"
    /// need.
    Result<> set_tss_and_identity_map(std::uint64_t tss, std::uint64_t identity_map);
    /// KVM_CREATE_IRQCHIP: PIC, IOAPIC and a local APIC per vCPU in the kernel.
    Result<> create_irqchip();

    /// KVM_GET_IRQCHIP and KVM_SET_IRQCHIP of one of KVM_IRQCHIP_PIC_MASTER, PIC_SLAVE and IOAPIC.
    [[nodiscard]] Result<kvm_irqchip> irqchip(std::uint32_t chip) const;
    Result<> set_irqchip(const kvm_irqchip& chip);
    /// KVM_GET_CLOCK and KVM_SET_CLOCK: the guest's kvmclock, nanoseconds.
    [[nodiscard]] Result<kvm_clock_data> clock() const;
    Result<> set_clock(const kvm_clock_data& clock);
    /// Bytes of a vCPU's XSAVE area (KVM_CAP_XSAVE2), 4096 at least.
    [[nodiscard]] std::size_t xsave_size() const;

    /// KVM_SET_GSI_ROUTING: replaces the whole table.
    Result<> set_gsi_routing(std::span<const kvm_irq_routing_entry> entries);
    /// KVM_SIGNAL_MSI: an interrupt message as a device would write it.
    Result<> signal_msi(std::uint64_t address, std::uint32_t data);
    /// KVM_IRQFD: signals of `eventfd` raise `gsi` from now on (or no longer).
    Result<> assign_irqfd(int eventfd, std::uint32_t gsi);
    Result<> deassign_irqfd(int eventfd, std::uint32_t gsi);
    /// KVM_IOEVENTFD: guest writes to the address signal `eventfd` without leaving the kernel.
    Result<> assign_ioeventfd(int eventfd, const IoEventAddress& address);
    Result<> deassign_ioeventfd(int eventfd, const IoEventAddress& address);

    /// KVM_GET_TSC_KHZ of new vCPUs, or 0 if this host does not tell.
    [[nodiscard]] std::uint32_t tsc_khz() const;

    /// KVM_CREATE_VCPU; `id` is also its APIC id.
    Result<Vcpu> create_vcpu(std::uint32_t id);

  private:
    Result<> ioeventfd(int eventfd, const IoEventAddress& address, std::uint32_t flags);
    Result<> irqfd(int eventfd, std::uint32_t gsi, std::uint32_t flags);

    Fd fd_;
    std::size_t vcpu_mmap_size_;
    std::unique_ptr<DirtyRings> rings_;  ///< if it has them
};

}  // namespace hako::kvm
