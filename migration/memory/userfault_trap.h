// A PageTrap by userfaultfd, over the memfd of a VM.
#pragma once

#include <memory>

#include "migration/memory/memory_view.h"
#include "migration/memory/page_trap.h"
#include "vmm/memory/discard_gate.h"
#include "vmm/memory/userfault.h"

namespace hako::migration {

class UserfaultTrap final : public PageTrap {
  public:
    /// Before anything is written into `memory`, which outlives it. `huge`: memory may have transparent huge
    /// pages afterwards. `gate`, if not null: closed from arm() on as long as this lives. An error says why
    /// this host cannot.
    static Result<std::unique_ptr<PageTrap>> create(const MemoryView& memory, bool huge,
                                                    std::shared_ptr<DiscardGate> gate = nullptr);
    ~UserfaultTrap() override;

    Result<> remove(const PageBits& stale) override;
    Result<> arm(const PageBits& missing) override;
    Result<> disarm() override;
    [[nodiscard]] int fd() const override { return faults_.fd(); }
    Result<std::optional<PagePlace>> take() override;
    Result<> put(const PagePlace& place, std::span<const std::byte> content) override;
    Result<> put_zeros(const PagePlace& place, std::uint64_t pages) override;
    void wake(const PagePlace& page) override;

  private:
    UserfaultTrap(const MemoryView& memory, bool huge, Userfault faults, std::shared_ptr<DiscardGate> gate)
        : memory_(memory), huge_(huge), faults_(std::move(faults)), gate_(std::move(gate)) {}
    Result<> take_away(const PageBits& pages) const;
    Result<> check_gone(const PageBits& pages) const;
    template <typename Look>
    Result<> for_each_run(const PageBits& pages, Look look) const;

    const MemoryView memory_;
    const bool huge_;
    Userfault faults_;
    PageBits gone_;  ///< remove() has seen that they go; none yet: empty
    const std::shared_ptr<DiscardGate> gate_;
};

}  // namespace hako::migration
