// Which pages of guest memory were written, by the guest or by hako, while somebody wants to know.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/kvm/vm.h"
#include "vmm/machine/dirty_log_mode.h"
#include "vmm/memory/guest_memory.h"

namespace hako {

/// Writers of guest memory that neither KVM nor hako's own bitmap sees: other processes.
class ForeignWrites {
  public:
    virtual ~ForeignWrites() = default;
    /// They tell what they write from now on. An error: none of them does.
    virtual Result<> start_logging() = 0;
    virtual void stop_logging() = 0;
    /// Puts what they wrote since the last call into hako's own bitmap.
    virtual void collect() = 0;
};

/// One user at a time.
class DirtyTracker {
  public:
    /// Both outlive it. The best bitmap that this host has, or `at_most`; rings, if the VM has them.
    DirtyTracker(kvm::Vm& vm, GuestMemory& memory, DirtyLogMode at_most = DirtyLogMode::kInitiallySet);
    DirtyTracker(const DirtyTracker&) = delete;
    DirtyTracker& operator=(const DirtyTracker&) = delete;
    ~DirtyTracker();

    /// Theirs count, too, from the next start() on; null before they are gone.
    void set_foreign(ForeignWrites* foreign) { foreign_ = foreign; }

    [[nodiscard]] DirtyLogMode mode() const { return mode_; }
    [[nodiscard]] bool active() const { return active_; }

    /// From here on writes are seen, while vCPUs and devices run. What was logged before is forgotten.
    Result<> start();
    /// Does nothing when it is not active.
    void stop();

    /// Makes room in the vCPUs' rings; what is there counts for the next collect(). Any thread.
    Result<> make_room();

    /// Sets the bits of pages written since the last call, or since start(): bit n of word w of a region is
    /// its page 64 * w + n. In the manual modes a page's bit stays until it is cleared.
    Result<> collect(std::span<std::vector<std::uint64_t>> bits);
    /// Before pages [first, first + pages) of a region are read: those whose bits are set in `words` are
    /// clean, and what is written from now on is seen by the next collect(). Both are multiples of 64 unless
    /// the region ends there. Any thread. Not needed with the vCPUs parked.
    Result<> clear(std::size_t region, std::uint64_t first, std::uint64_t pages,
                   std::span<const std::uint64_t> words);

  private:
    Result<> set_logging(bool on);
    Result<> clear_all();

    kvm::Vm& vm_;
    GuestMemory& memory_;
    DirtyLogMode mode_ = DirtyLogMode::kClassic;
    ForeignWrites* foreign_ = nullptr;
    bool active_ = false;
    std::vector<std::uint64_t> log_;  ///< of one region, as KVM gives it
};

}  // namespace hako
