// The saved form of KVM's own structs, by the names of the registers in them.
#pragma once

#include "vmm/kvm/uapi.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/state/fields.h"

namespace hako::state {

template <>
struct Fields<kvm_regs> {
    using T = kvm_regs;
    static constexpr auto list = std::tuple(
        hex("rax", &T::rax), hex("rbx", &T::rbx), hex("rcx", &T::rcx), hex("rdx", &T::rdx),
        hex("rsi", &T::rsi), hex("rdi", &T::rdi), hex("rsp", &T::rsp), hex("rbp", &T::rbp), hex("r8", &T::r8),
        hex("r9", &T::r9), hex("r10", &T::r10), hex("r11", &T::r11), hex("r12", &T::r12), hex("r13", &T::r13),
        hex("r14", &T::r14), hex("r15", &T::r15), hex("rip", &T::rip), hex("rflags", &T::rflags));
};

template <>
struct Fields<kvm_segment> {
    using T = kvm_segment;
    static constexpr auto list =
        std::tuple(hex("base", &T::base), hex("limit", &T::limit), hex("selector", &T::selector),
                   field("type", &T::type), field("present", &T::present), field("dpl", &T::dpl),
                   field("db", &T::db), field("s", &T::s), field("l", &T::l), field("g", &T::g),
                   field("avl", &T::avl), field("unusable", &T::unusable));
};

template <>
struct Fields<kvm_dtable> {
    using T = kvm_dtable;
    static constexpr auto list = std::tuple(hex("base", &T::base), hex("limit", &T::limit));
};

template <>
struct Fields<kvm_sregs2> {
    using T = kvm_sregs2;
    static constexpr auto list =
        std::tuple(field("cs", &T::cs), field("ds", &T::ds), field("es", &T::es), field("fs", &T::fs),
                   field("gs", &T::gs), field("ss", &T::ss), field("tr", &T::tr), field("ldt", &T::ldt),
                   field("gdt", &T::gdt), field("idt", &T::idt), hex("cr0", &T::cr0), hex("cr2", &T::cr2),
                   hex("cr3", &T::cr3), hex("cr4", &T::cr4), hex("cr8", &T::cr8), hex("efer", &T::efer),
                   hex("apic_base", &T::apic_base), hex("flags", &T::flags), hex("pdptrs", &T::pdptrs));
};

template <>
struct Fields<kvm_xcr> {
    using T = kvm_xcr;
    static constexpr auto list = std::tuple(field("xcr", &T::xcr), hex("value", &T::value));
};

template <>
struct Fields<kvm_debugregs> {
    using T = kvm_debugregs;
    static constexpr auto list = std::tuple(hex("db", &T::db), hex("dr6", &T::dr6), hex("dr7", &T::dr7));
};

template <>
struct Fields<decltype(kvm_vcpu_events::exception)> {
    using T = decltype(kvm_vcpu_events::exception);
    static constexpr auto list = std::tuple(field("injected", &T::injected), field("nr", &T::nr),
                                            field("has_error_code", &T::has_error_code),
                                            field("pending", &T::pending), hex("error_code", &T::error_code));
};

template <>
struct Fields<decltype(kvm_vcpu_events::interrupt)> {
    using T = decltype(kvm_vcpu_events::interrupt);
    static constexpr auto list = std::tuple(field("injected", &T::injected), field("nr", &T::nr),
                                            field("soft", &T::soft), hex("shadow", &T::shadow));
};

template <>
struct Fields<decltype(kvm_vcpu_events::nmi)> {
    using T = decltype(kvm_vcpu_events::nmi);
    static constexpr auto list = std::tuple(field("injected", &T::injected), field("pending", &T::pending),
                                            field("masked", &T::masked));
};

template <>
struct Fields<decltype(kvm_vcpu_events::smi)> {
    using T = decltype(kvm_vcpu_events::smi);
    static constexpr auto list =
        std::tuple(field("smm", &T::smm), field("pending", &T::pending),
                   field("smm_inside_nmi", &T::smm_inside_nmi), field("latched_init", &T::latched_init));
};

template <>
struct Fields<decltype(kvm_vcpu_events::triple_fault)> {
    using T = decltype(kvm_vcpu_events::triple_fault);
    static constexpr auto list = std::tuple(field("pending", &T::pending));
};

template <>
struct Fields<kvm_vcpu_events> {
    using T = kvm_vcpu_events;
    static constexpr auto list = std::tuple(
        field("exception", &T::exception), field("interrupt", &T::interrupt), field("nmi", &T::nmi),
        hex("sipi_vector", &T::sipi_vector), hex("flags", &T::flags), field("smi", &T::smi),
        field("triple_fault", &T::triple_fault), field("exception_has_payload", &T::exception_has_payload),
        hex("exception_payload", &T::exception_payload));
};

template <>
struct Fields<kvm_cpuid_entry2> {
    using T = kvm_cpuid_entry2;
    static constexpr auto list =
        std::tuple(hex("function", &T::function), hex("index", &T::index), hex("flags", &T::flags),
                   hex("eax", &T::eax), hex("ebx", &T::ebx), hex("ecx", &T::ecx), hex("edx", &T::edx));
};

template <>
struct Fields<kvm_pic_state> {
    using T = kvm_pic_state;
    static constexpr auto list = std::tuple(
        hex("last_irr", &T::last_irr), hex("irr", &T::irr), hex("imr", &T::imr), hex("isr", &T::isr),
        field("priority_add", &T::priority_add), hex("irq_base", &T::irq_base),
        field("read_reg_select", &T::read_reg_select), field("poll", &T::poll),
        field("special_mask", &T::special_mask), field("init_state", &T::init_state),
        field("auto_eoi", &T::auto_eoi), field("rotate_on_auto_eoi", &T::rotate_on_auto_eoi),
        field("special_fully_nested_mode", &T::special_fully_nested_mode), field("init4", &T::init4),
        hex("elcr", &T::elcr), hex("elcr_mask", &T::elcr_mask));
};

template <>
struct Fields<kvm::Msr> {
    using T = kvm::Msr;
    static constexpr auto list = std::tuple(hex("index", &T::index), hex("value", &T::value));
};

}  // namespace hako::state
