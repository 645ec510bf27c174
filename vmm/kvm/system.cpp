#include "vmm/kvm/system.h"

#include <fcntl.h>

#include "vmm/kvm/ioctl.h"
#include "vmm/kvm/vm.h"

namespace hako::kvm {
namespace {

constexpr std::uint32_t kMaxCpuidEntries = 256;
constexpr std::uint32_t kMaxMsrIndices = 4096;

}  // namespace

Result<System> System::open() {
    Fd fd(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    if (!fd.valid()) return fail_errno(errno, "cannot open /dev/kvm (`hako doctor` says what to do)");
    const int version = ioctl_retry(fd.get(), KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return fail_host("KVM has API version {}, hako needs {}", version, KVM_API_VERSION);
    const int mmap_size = ioctl_retry(fd.get(), KVM_GET_VCPU_MMAP_SIZE, 0);
    if (mmap_size < static_cast<int>(sizeof(kvm_run))) return fail_errno(errno, "KVM_GET_VCPU_MMAP_SIZE");
    return System(std::move(fd), static_cast<std::size_t>(mmap_size));
}

int System::extension(std::uint32_t capability) const {
    const int value = ioctl_retry(fd_.get(), KVM_CHECK_EXTENSION, capability);
    return value < 0 ? 0 : value;
}

Result<std::vector<kvm_cpuid_entry2>> System::supported_cpuid() const {
    auto cpuid = make_flexible<kvm_cpuid2, kvm_cpuid_entry2>(kMaxCpuidEntries);
    cpuid->nent = kMaxCpuidEntries;
    if (ioctl_retry(fd_.get(), KVM_GET_SUPPORTED_CPUID, cpuid.get()) < 0)
        return fail_errno(errno, "KVM_GET_SUPPORTED_CPUID");
    return std::vector(cpuid->entries, cpuid->entries + cpuid->nent);
}

Result<std::vector<std::uint32_t>> System::msr_indices() const {
    auto list = make_flexible<kvm_msr_list, std::uint32_t>(kMaxMsrIndices);
    list->nmsrs = kMaxMsrIndices;
    if (ioctl_retry(fd_.get(), KVM_GET_MSR_INDEX_LIST, list.get()) < 0)
        return fail_errno(errno, "KVM_GET_MSR_INDEX_LIST");
    return std::vector(list->indices, list->indices + list->nmsrs);
}

std::optional<std::uint64_t> System::feature_msr(std::uint32_t index) const {
    const auto request = make_flexible<kvm_msrs, kvm_msr_entry>(1);
    request->nmsrs = 1;
    request->entries[0].index = index;
    if (ioctl_retry(fd_.get(), KVM_GET_MSRS, request.get()) != 1) return std::nullopt;
    return request->entries[0].data;
}

Result<Vm> System::create_vm() const {
    Fd fd(ioctl_retry(fd_.get(), KVM_CREATE_VM, 0));
    if (!fd.valid()) return fail_errno(errno, "KVM_CREATE_VM");
    return Vm(std::move(fd), vcpu_mmap_size_);
}

}  // namespace hako::kvm
