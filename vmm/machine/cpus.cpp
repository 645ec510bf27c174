#include "vmm/machine/cpus.h"

#include <algorithm>

#include "vmm/base/log.h"
#include "vmm/boot/cpuid.h"
#include "vmm/boot/msrs.h"
#include "vmm/boot/vcpu_setup.h"
#include "vmm/kvm/msr_list.h"

namespace hako {
namespace {

Result<> set_up(kvm::Vcpu& vcpu, std::span<const kvm_cpuid_entry2> cpuid) {
    HAKO_TRY(vcpu.set_cpuid(cpuid));
    // A host that lacks one of these costs the guest speed, not correctness; say which.
    for (const std::uint32_t index : HAKO_TRY(vcpu.set_msrs(boot::boot_msrs(cpuid))))
        log_info("vCPU {}: this host's KVM refuses MSR {:#x}", vcpu.id(), index);
    return boot::set_up_local_apic(vcpu);
}

/// One line for all vCPUs: they tend to fare alike.
void log_losses(const kvm::VcpuRestored& outcome) {
    for (const kvm::Msr& msr : outcome.refused)
        log_warn("this host's KVM refuses MSR {:#x}: the guest had {:#x} there", msr.index, msr.value);
    if (outcome.tsc_error)
        log_warn("this host does not set the TSC: the guest's is off by {} ticks", *outcome.tsc_error);
}

}  // namespace

Result<Cpus> Cpus::create(const HostCpu& host, CpuPlace place, std::vector<kvm::Vcpu> vcpus,
                          std::uint32_t most, GuestMemory& memory, const boot::BootState& boot) {
    const boot::CpuidConfig cpuid_config{
        .vcpus = most, .tsc_deadline = host.tsc_deadline, .tsc_khz = host.tsc_khz};

    Cpus cpus(std::move(place), most);
    cpus.msrs_ = host.msrs;
    const std::size_t count = vcpus.size();
    HAKO_TRY(cpus.keep(std::move(vcpus)));
    for (std::uint32_t id = 0; id < count; ++id) {
        Slot& slot = cpus.slots_[id];
        slot.cpuid = boot::guest_cpuid(host.cpuid, id, cpuid_config);
        HAKO_TRY_WRAP(set_up(*slot.spare, slot.cpuid), "vCPU {}", id);
    }
    HAKO_TRY(boot::start_boot_vcpu(*cpus.slots_.front().spare, memory, boot));
    // Last: an error before leaves no thread behind.
    for (std::uint32_t id = 0; id < count; ++id)
        cpus.start(cpus.slots_[id]);
    cpus.renew_brake();
    return cpus;
}

Result<> Cpus::keep(std::vector<kvm::Vcpu> vcpus) {
    for (kvm::Vcpu& vcpu : vcpus) {
        const std::uint32_t id = vcpu.id();
        if (id >= slots_.size()) return fail_host("vCPU {} is one of {}", id, slots_.size());
        slots_[id].spare.emplace(std::move(vcpu));
    }
    return {};
}

void Cpus::start(Slot& slot) {
    slot.thread = std::make_unique<VcpuThread>(std::move(*slot.spare), place_.pio, place_.mmio,
                                               place_.on_stop, place_.on_full_ring);
    slot.spare.reset();
    slot.fresh = false;
}

void Cpus::renew_brake() {
    std::vector<VcpuThread*> threads;
    for (const Slot& slot : slots_)
        if (slot.thread) threads.push_back(slot.thread.get());
    brake_ = std::make_unique<CpuBrake>(std::move(threads));
}

Result<Cpus> Cpus::restore(const HostCpu& host, CpuPlace place, std::vector<kvm::Vcpu> vcpus,
                           std::uint32_t most, std::span<const kvm::VcpuState> states,
                           const kvm::ClockState& saved_at, const kvm::ClockState& now) {
    Cpus cpus(std::move(place), most);
    cpus.msrs_ = host.msrs;
    HAKO_TRY(cpus.keep(std::move(vcpus)));
    for (const kvm::VcpuState& state : states) {
        if (state.id >= most) return fail_input("vCPU {} was saved, the machine has {}", state.id, most);
        Slot& slot = cpus.slots_[state.id];
        HAKO_TRY(cpus.make_spare(slot, state.id));
        const kvm::VcpuRestored outcome = HAKO_TRY_WRAP(
            kvm::restore_vcpu(cpus.place_.vm, *slot.spare, state, saved_at, now), "vCPU {}", state.id);
        if (&state == &states.front()) log_losses(outcome);
        slot.cpuid = state.cpuid;
    }
    for (const kvm::VcpuState& state : states)
        cpus.start(cpus.slots_[state.id]);
    cpus.renew_brake();
    return cpus;
}

Result<> Cpus::make_spare(Slot& slot, std::uint32_t id) {
    if (!slot.spare) slot.spare.emplace(HAKO_TRY(place_.vm.create_vcpu(id)));
    return {};
}

Result<> Cpus::plug(std::uint32_t id) {
    if (id >= slots_.size()) return fail_input("vCPU {}: the machine has {} at most", id, slots_.size());
    Slot& slot = slots_[id];
    if (slot.thread) return {};
    HAKO_TRY(make_spare(slot, id));
    if (slot.fresh) {
        HAKO_TRY_WRAP(set_up_like_first(slot, id), "vCPU {}", id);
    } else {
        // Where it was when the guest let go of it does not count: INIT and SIPI come next.
        HAKO_TRY(slot.spare->set_mp_state(KVM_MP_STATE_UNINITIALIZED));
    }
    const std::lock_guard lock(*mutex_);
    start(slot);
    renew_brake();
    return {};
}

/// The guest has seen its CPUs, maybe on another host: this one is the same, and its TSC ticks with theirs.
Result<> Cpus::set_up_like_first(Slot& slot, std::uint32_t id) {
    kvm::Vcpu& vcpu = *slot.spare;
    kvm::Vcpu& first = slots_.front().thread->vcpu();
    slot.cpuid = boot::sibling_cpuid(slots_.front().cpuid, id);
    HAKO_TRY(set_up(vcpu, slot.cpuid));
    const std::uint32_t khz = first.tsc_khz();
    if (khz != 0 && khz != vcpu.tsc_khz()) HAKO_TRY(vcpu.set_tsc_khz(khz));
    if (const auto offset = first.tsc_offset(); offset && vcpu.tsc_offset() != offset)
        HAKO_TRY(vcpu.set_tsc_offset(*offset));
    return {};
}

void Cpus::unplug(std::uint32_t id) {
    if (!has(id)) return;
    Slot& slot = slots_[id];
    const std::lock_guard lock(*mutex_);
    slot.spare.emplace(slot.thread->end());
    slot.thread.reset();
    renew_brake();
}

void Cpus::note_stopped() {
    for (const Slot& slot : slots_)
        if (slot.thread) slot.thread->vcpu().note_stopped();
}

void Cpus::resume() {
    for (const Slot& slot : slots_)
        if (slot.thread) slot.thread->resume();
}

void Cpus::halt() {
    for (const Slot& slot : slots_)
        if (slot.thread) slot.thread->request_park();
}

void Cpus::pause() {
    halt();
    for (const Slot& slot : slots_)
        if (slot.thread) slot.thread->wait_parked();
}

Result<std::vector<CpuRegisters>> Cpus::registers() const {
    std::vector<CpuRegisters> all;
    for (const Slot& slot : slots_) {
        if (!slot.thread) continue;
        const kvm_regs general = HAKO_TRY(slot.thread->vcpu().regs());
        const kvm_sregs special = HAKO_TRY(slot.thread->vcpu().sregs());
        all.push_back({.general = general, .special = special});
    }
    return all;
}

Result<std::vector<kvm::VcpuState>> Cpus::save(const std::function<bool(std::uint32_t id)>& which) const {
    std::vector<kvm::VcpuState> all;
    for (std::uint32_t id = 0; id < slots_.size(); ++id) {
        const Slot& slot = slots_[id];
        if (!slot.thread || !which(id)) continue;
        all.push_back(
            HAKO_TRY_WRAP(kvm::save_vcpu(place_.vm, slot.thread->vcpu(), slot.cpuid, msrs_), "vCPU {}", id));
    }
    return all;
}

std::vector<VcpuMetrics> Cpus::metrics() const {
    const std::lock_guard lock(*mutex_);
    std::vector<VcpuMetrics> all;
    for (const Slot& slot : slots_)
        if (slot.thread) all.push_back(slot.thread->metrics());
    return all;
}

std::uint64_t Cpus::exits() const {
    std::uint64_t sum = 0;
    for (const Slot& slot : slots_)
        if (slot.thread) sum += slot.thread->exits();
    return sum;
}

}  // namespace hako
