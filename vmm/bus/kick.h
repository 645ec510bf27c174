// Doorbells: guest writes that signal an eventfd inside the kernel.
#pragma once

#include "vmm/base/result.h"
#include "vmm/kvm/vm.h"

namespace hako {

/// Who connects doorbells (KVM_IOEVENTFD; a recorder in unit tests).
class KickRegistry {
  public:
    virtual ~KickRegistry() = default;
    virtual Result<> connect_kick(int eventfd, const kvm::IoEventAddress& address) = 0;
    virtual Result<> disconnect_kick(int eventfd, const kvm::IoEventAddress& address) = 0;
};

/// KickRegistry on KVM. The VM must outlive it.
class KvmKicks final : public KickRegistry {
  public:
    explicit KvmKicks(kvm::Vm& vm) : vm_(vm) {}
    Result<> connect_kick(int eventfd, const kvm::IoEventAddress& address) override {
        return vm_.assign_ioeventfd(eventfd, address);
    }
    Result<> disconnect_kick(int eventfd, const kvm::IoEventAddress& address) override {
        return vm_.deassign_ioeventfd(eventfd, address);
    }

  private:
    kvm::Vm& vm_;
};

}  // namespace hako
