// Whether /dev/kvm can be opened, and what it says that it can do.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tools/hako/doctor_check.h"

namespace hako::doctor {

/// What was seen of /dev/kvm and of what should stand behind it.
struct KvmDeviceProbe {
    int open_error = 0;  ///< errno of open(2), or 0
    int api_version = 0;
    std::string
        modules;  ///< the loaded modules that drive a CPU: "kvm_amd", "kvm_intel", others; comma-separated
    bool kvm_loaded = false;  ///< the kvm core is in the kernel
    bool cpu_intel = false;   ///< the CPU has VMX
    bool cpu_amd = false;     ///< the CPU has SVM
    bool in_vm = false;       ///< this host is itself a VM
};

KvmDeviceProbe probe_kvm_device();
Check judge_kvm_device(const KvmDeviceProbe& probe);

/// KVM_CHECK_EXTENSION: 0, or the capability's value.
using Extension = std::function<int(std::uint32_t capability)>;

/// Three checks: required capabilities, optional ones, the number of vCPUs.
Checks judge_capabilities(const Extension& extension);

}  // namespace hako::doctor
