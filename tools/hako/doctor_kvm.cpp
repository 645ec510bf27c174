#include "tools/hako/doctor_kvm.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/ioctl.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <system_error>
#include <vector>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/kvm/uapi.h"
#include "vmm/machine/config.h"

namespace hako::doctor {
namespace {

constexpr const char* kNode = "/dev/kvm";

/// Loaded modules named kvm_*.
std::string vendor_modules() {
    std::vector<std::string> modules;
    std::error_code error;
    for (std::filesystem::directory_iterator entry("/sys/module", error), end; !error && entry != end;
         entry.increment(error)) {
        const std::string name = entry->path().filename();
        if (name.starts_with("kvm_")) modules.push_back(name);
    }
    return fmt::format("{}", fmt::join(modules, ", "));
}

void read_cpu_flags(KvmDeviceProbe& probe) {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with("flags")) continue;
        std::istringstream words(line);
        for (std::string word; words >> word;) {
            probe.cpu_intel |= word == "vmx";
            probe.cpu_amd |= word == "svm";
            probe.in_vm |= word == "hypervisor";
        }
        return;
    }
}

/// What makes the device appear, from what the CPU offers.
std::string missing_device_advice(const KvmDeviceProbe& probe) {
    if (probe.kvm_loaded && !probe.modules.empty())
        return "KVM is loaded but its device is not here: in a container pass it in (--device /dev/kvm); "
               "else mknod "
               "/dev/kvm c 10 232";
    if (probe.cpu_amd)
        return "load the module: modprobe kvm_amd (dmesg says so if the firmware has SVM locked)";
    if (probe.cpu_intel)
        return "load the module: modprobe kvm_intel (dmesg says so if the firmware has VT-x locked)";
    if (probe.in_vm)
        return "this host is a VM without nested virtualisation: switch it on where it runs (kvm_intel or "
               "kvm_amd "
               "nested=1 and the CPU model \"host\"), or try hako in the lab: tools/lab run -- hako doctor";
    return "switch on VT-x (Intel) or SVM (AMD) in the firmware, or use a CPU that has it";
}

struct Capability {
    std::uint32_t number;
    std::string_view name;
    std::string_view without;  ///< what does not work without it
};

constexpr std::array<Capability, 8> kRequired = {{
    {KVM_CAP_USER_MEMORY, "USER_MEMORY", ""},
    {KVM_CAP_IRQCHIP, "IRQCHIP", ""},
    {KVM_CAP_IRQFD, "IRQFD", ""},
    {KVM_CAP_IOEVENTFD, "IOEVENTFD", ""},
    {KVM_CAP_SIGNAL_MSI, "SIGNAL_MSI", ""},
    {KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT", ""},
    {KVM_CAP_EXT_CPUID, "EXT_CPUID", ""},
    {KVM_CAP_XSAVE, "XSAVE", ""},
}};

constexpr std::array<Capability, 7> kOptional = {{
    {KVM_CAP_TSC_DEADLINE_TIMER, "TSC_DEADLINE_TIMER", "guests use slower timers"},
    {KVM_CAP_X2APIC_API, "X2APIC_API", "no more than 255 vCPUs"},
    {KVM_CAP_READONLY_MEM, "READONLY_MEM", "no firmware in read-only memory"},
    {KVM_CAP_SPLIT_IRQCHIP, "SPLIT_IRQCHIP", "all interrupt controllers stay in the kernel"},
    {KVM_CAP_XSAVE2, "XSAVE2", "no AMX in guests"},
    {KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, "MANUAL_DIRTY_LOG_PROTECT2", "live migration costs the guest more"},
    {KVM_CAP_DIRTY_LOG_RING, "DIRTY_LOG_RING", "live migration uses dirty bitmaps"},
}};

}  // namespace

KvmDeviceProbe probe_kvm_device() {
    KvmDeviceProbe probe;
    read_cpu_flags(probe);
    probe.modules = vendor_modules();
    std::error_code ignored;
    probe.kvm_loaded = std::filesystem::exists("/sys/module/kvm", ignored);
    const Fd fd(::open(kNode, O_RDWR | O_CLOEXEC));
    if (!fd.valid()) {
        probe.open_error = errno;
        return probe;
    }
    probe.api_version = ::ioctl(fd.get(), KVM_GET_API_VERSION, 0);
    return probe;
}

Check judge_kvm_device(const KvmDeviceProbe& probe) {
    Check check{.name = "KVM device", .status = Status::kFail, .found = {}, .advice = {}};
    switch (probe.open_error) {
        case 0:
            break;
        case ENOENT:
            check.found = fmt::format("{} does not exist", kNode);
            check.advice = missing_device_advice(probe);
            return check;
        case ENODEV:
        case ENXIO:
            check.found = fmt::format("{} exists, but no KVM stands behind it", kNode);
            check.advice = missing_device_advice(probe);
            return check;
        case EACCES:
            check.found = fmt::format("{} may not be opened by this user", kNode);
            check.advice =
                "join the group that owns it, on Debian as root: usermod -aG kvm USER; then log in again";
            return check;
        case EPERM:
            check.found = fmt::format("{} may not be opened here", kNode);
            check.advice =
                "a container or a security policy forbids it: pass the device in (--device /dev/kvm)";
            return check;
        default:
            check.found = fmt::format("{} does not open: {}", kNode, errno_text(probe.open_error));
            check.advice = "see dmesg for what KVM says";
            return check;
    }
    if (probe.api_version != KVM_API_VERSION) {
        check.found = fmt::format("{} has API version {}, not {}", kNode, probe.api_version, KVM_API_VERSION);
        check.advice = "use Linux 6.1 or later";
        return check;
    }
    check.status = Status::kOk;
    check.found = fmt::format("{} opens, API {}{}{}{}", kNode, probe.api_version,
                              probe.modules.empty() ? "" : ", module ", probe.modules,
                              probe.in_vm ? "; this host is itself a VM" : "");
    return check;
}

Checks judge_capabilities(const Extension& extension) {
    Check required{.name = "KVM required", .status = Status::kOk, .found = {}, .advice = {}};
    std::vector<std::string_view> present;
    std::vector<std::string_view> missing;
    for (const Capability& capability : kRequired)
        (extension(capability.number) > 0 ? present : missing).push_back(capability.name);
    if (missing.empty()) {
        required.found = fmt::format("{}", fmt::join(present, ", "));
    } else {
        required.status = Status::kFail;
        required.found = fmt::format("without {}", fmt::join(missing, ", "));
        required.advice = "use Linux 6.1 or later with an ordinary KVM (kvm_intel or kvm_amd)";
    }

    Check optional{.name = "KVM optional", .status = Status::kOk, .found = {}, .advice = {}};
    present.clear();
    std::vector<std::string> lost;
    for (const Capability& capability : kOptional) {
        if (extension(capability.number) > 0) {
            present.push_back(capability.name);
        } else {
            lost.push_back(fmt::format("{} ({})", capability.name, capability.without));
        }
    }
    if (lost.empty()) {
        optional.found = fmt::format("{}", fmt::join(present, ", "));
    } else {
        optional.status = Status::kWarn;
        optional.found = fmt::format("without {}", fmt::join(lost, ", "));
        optional.advice = "VMs run without it; a newer kernel or CPU has it";
    }

    Check cpus{.name = "KVM vCPUs", .status = Status::kOk, .found = {}, .advice = {}};
    const int max = extension(KVM_CAP_MAX_VCPUS);
    cpus.found = fmt::format("up to {} in a VM", max);
    if (max < static_cast<int>(kMaxVcpus)) {
        cpus.status = max < 1 ? Status::kFail : Status::kWarn;
        cpus.advice = fmt::format("--cpus goes no higher here, where hako allows {}", kMaxVcpus);
    }
    return {required, optional, cpus};
}

}  // namespace hako::doctor
