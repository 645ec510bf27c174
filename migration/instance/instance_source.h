// A VM of this process as snapshots and migrations take it away.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "migration/instance/control_thread.h"
#include "migration/source_machine.h"
#include "vmm/machine/instance.h"

namespace hako::migration {

/// The VM is held (Instance::hold()) as long as this is used.
class InstanceSource final : public SourceMachine {
  public:
    /// On the control thread. `config`: what the destination builds the VM from. Both outlive it; the VM is
    /// booted. `moving`: ids of disks that move along (see check_disks_can_move()).
    InstanceSource(Instance& instance, ControlThread control, Blob config, Uuid uuid,
                   std::vector<std::string> moving = {});
    ~InstanceSource() override = default;

    Result<Description> describe() override;
    const MemoryView& memory() override { return memory_; }
    std::vector<NamedFd> fds() override;

    Result<> start_dirty_tracking() override;
    void stop_dirty_tracking() override;
    Result<PageBits> touched() override;
    Result<> fetch_dirty(PageBits& bits) override;
    Result<> clear_dirty(std::size_t region, std::uint64_t first, std::uint64_t pages,
                         std::span<const std::uint64_t> words) override;
    Result<> fetch_dirty_blocks(BlockBits& bits) override;
    void throttle(unsigned percent) override;

    Result<Stamp> pause() override;
    Result<Fd> image(const std::string& id) override;
    Result<> resume() override;
    Result<Blob> save_state() override;

    Result<> release_locks() override;
    Result<> acquire_locks() override;
    Result<std::optional<EpochRecord>> read_epoch_record() override;
    Result<> write_epoch_record(const EpochRecord& record) override;

  private:
    Result<std::uint64_t> own_epoch();
    /// Those that move along, in their order. Control thread.
    Result<std::vector<virtio::blk::BlockDevice*>> moving_disks() const;
    Result<std::vector<DiskShape>> moving_shapes() const;
    Result<> track_disks();

    Instance& instance_;
    Machine& machine_;
    const ControlThread control_;
    const Blob config_;
    const Uuid uuid_;
    const MemoryView memory_;
    const bool was_running_;
    const std::vector<std::string> moving_;
    std::vector<DiskShape> shapes_;  ///< of these, as described
    std::vector<std::shared_ptr<virtio::blk::DirtyBlocks>>
        dirty_blocks_;  ///< of these, while writes are logged
};

/// Refuses a VM of which not all writes to memory can be seen while it runs.
[[nodiscard]] Result<> check_writes_are_seen(const MachineConfig& config);
/// Refuses disks that cannot move along: none of the VM's, read-only ones, one twice.
[[nodiscard]] Result<> check_disks_can_move(const MachineConfig& config, std::span<const std::string> moving);
/// How migrations see guest memory.
[[nodiscard]] MemoryView view_of(GuestMemory& memory);

}  // namespace hako::migration
