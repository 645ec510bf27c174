// <linux/kvm.h> for C++. Include this instead of the kernel's header.
#pragma once

#include <linux/stddef.h>

// The kernel's macro puts an empty struct in front of a flexible array. That takes no bytes in C but some in
// C++, where kvm_cpuid2, kvm_msrs and others would get another layout and, since ioctl numbers hold sizes,
// other numbers.
#pragma push_macro("__DECLARE_FLEX_ARRAY")
#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(TYPE, NAME) TYPE NAME[]
#include <linux/kvm.h>
#pragma pop_macro("__DECLARE_FLEX_ARRAY")

static_assert(sizeof(kvm_cpuid2) == 8 && sizeof(kvm_msrs) == 8 && sizeof(kvm_msr_list) == 4 &&
                  sizeof(kvm_irq_routing) == 8,
              "include vmm/kvm/uapi.h, never <linux/kvm.h>");
