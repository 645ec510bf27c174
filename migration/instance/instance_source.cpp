#include "migration/instance/instance_source.h"

#include <algorithm>

#include "migration/instance/cpu_blob.h"
#include "migration/instance/image_locks.h"
#include "migration/instance/images_record.h"
#include "migration/instance/saved_vm.h"
#include "migration/progress.h"
#include "virtio/blk/protocol.h"

namespace hako::migration {
namespace {

/// Of devices and interrupt controllers, about.
constexpr std::uint64_t kOtherState = 64 * KiB;

static_assert(kBlockBytes == virtio::blk::DirtyBlocks::kBlockBytes);
static_assert(kDiskUnit == virtio::blk::kSectorSize);

}  // namespace

Result<> check_writes_are_seen(const MachineConfig& config) {
    for (const virtio::net::Config& net : config.nets)
        if (net.vhost)
            return fail_input(
                "network interface {} has vhost=on: what the kernel receives into guest memory is not seen "
                "yet; "
                "pause the VM first, or use an interface without vhost",
                net.id);
    return {};
}

Result<> check_disks_can_move(const MachineConfig& config, std::span<const std::string> moving) {
    for (std::size_t at = 0; at < moving.size(); ++at) {
        const std::string& id = moving[at];
        const auto disk = std::ranges::find(config.disks, id, &virtio::blk::Config::id);
        if (disk == config.disks.end()) return fail_input("the VM has no disk {}", id);
        if (disk->readonly)
            return fail_input("disk {} is read-only: copy its image there beforehand, it does not change",
                              id);
        if (std::ranges::find(moving.first(at), id) != moving.first(at).end())
            return fail_input("disk {} is named twice", id);
    }
    return {};
}

MemoryView view_of(GuestMemory& memory) {
    MemoryView view;
    for (const MemoryRegion& region : memory.regions()) {
        view.layout.regions.push_back({.address = region.base.value, .bytes = region.size});
        view.mappings.emplace_back(region.host, region.size);
    }
    return view;
}

InstanceSource::InstanceSource(Instance& instance, ControlThread control, Blob config, Uuid uuid,
                               std::vector<std::string> moving)
    : instance_(instance),
      machine_(**instance.machine()),
      control_(control),
      config_(std::move(config)),
      uuid_(uuid),
      memory_(view_of(machine_.memory())),
      was_running_(instance.state() == VmState::kRunning),
      moving_(std::move(moving)) {}

Result<std::vector<virtio::blk::BlockDevice*>> InstanceSource::moving_disks() const {
    std::vector<virtio::blk::BlockDevice*> disks;
    for (const std::string& id : moving_) {
        auto* const disk = machine_.devices().find<virtio::blk::BlockDevice>(id);
        if (disk == nullptr) return fail_missing("there is no disk {}", id);
        disks.push_back(disk);
    }
    return disks;
}

Result<std::vector<DiskShape>> InstanceSource::moving_shapes() const {
    std::vector<DiskShape> shapes;
    for (const virtio::blk::BlockDevice* disk : HAKO_TRY(moving_disks()))
        shapes.push_back({.id = disk->id(), .bytes = disk->state().capacity * virtio::blk::kSectorSize});
    return shapes;
}

Result<Description> InstanceSource::describe() {
    Description description;
    description.uuid = uuid_;
    description.epoch = HAKO_TRY(own_epoch()) + 1;
    description.config = config_;
    // vCPUs stand still for a moment: what their CPU can do is asked of them.
    const auto cpus = HAKO_TRY(control_.call([&] { return machine_.save_cpus(); }));
    description.cpu = HAKO_TRY(encode_cpus(cpus));
    description.state_bytes = description.cpu.size() + kOtherState;
    shapes_ = HAKO_TRY(control_.call([&] { return moving_shapes(); }));
    description.disks = shapes_;
    return description;
}

/// That the record says so, whoever wrote it before: this VM holds the images. Without a record somebody who
/// starts another VM on them, once they are handed over, would leave no trace.
Result<std::uint64_t> InstanceSource::own_epoch() {
    if (!record_path_of(instance_.config(), moving_)) return 0;
    const auto found = HAKO_TRY(read_epoch_record());
    if (found && found->vm == uuid_ && !found->withdrawn) return found->epoch;
    const EpochRecord own{
        .epoch = found ? found->epoch + 1 : 1, .vm = uuid_, .who = "the source, before it moved"};
    HAKO_TRY(write_epoch_record(own));
    return own.epoch;
}

std::vector<NamedFd> InstanceSource::fds() {
    return {{.name = "memory", .fd = machine_.memory().fd()}};
}

Result<> InstanceSource::track_disks() {
    for (virtio::blk::BlockDevice* disk : HAKO_TRY(moving_disks()))
        dirty_blocks_.push_back(disk->track_writes());
    return {};
}

Result<> InstanceSource::start_dirty_tracking() {
    HAKO_TRY(machine_.dirty_tracker().start());
    Result<> tracked = control_.call([&] { return track_disks(); });
    if (!tracked) stop_dirty_tracking();
    return tracked;
}

void InstanceSource::stop_dirty_tracking() {
    machine_.dirty_tracker().stop();
    control_.call([&] {
        dirty_blocks_.clear();
        for (const std::string& id : moving_)
            if (auto* const disk = machine_.devices().find<virtio::blk::BlockDevice>(id); disk != nullptr)
                disk->untrack_writes();
    });
}

Result<PageBits> InstanceSource::touched() {
    return machine_.memory().touched();
}

Result<> InstanceSource::fetch_dirty(PageBits& bits) {
    return machine_.dirty_tracker().collect(bits);
}

Result<> InstanceSource::clear_dirty(std::size_t region, std::uint64_t first, std::uint64_t pages,
                                     std::span<const std::uint64_t> words) {
    return machine_.dirty_tracker().clear(region, first, pages, words);
}

Result<> InstanceSource::fetch_dirty_blocks(BlockBits& bits) {
    if (dirty_blocks_.empty()) return {};
    const auto now = HAKO_TRY(control_.call([&] { return moving_shapes(); }));
    for (std::size_t at = 0; at < dirty_blocks_.size(); ++at) {
        if (now[at] != shapes_[at] || bits[at].size() != dirty_blocks_[at]->words())
            return fail_host("disk {} has another size than when the migration began", moving_[at]);
        dirty_blocks_[at]->take(bits[at]);
    }
    return {};
}

void InstanceSource::throttle(unsigned percent) {
    machine_.throttle(percent);
}

Result<Stamp> InstanceSource::pause() {
    // Most of it before the guest waits for it. What fails fails again below.
    if (was_running_) [[maybe_unused]]
        const auto most = machine_.flush_disks();
    return control_.call([&]() -> Result<Stamp> {
        if (was_running_) HAKO_TRY(instance_.pause());
        const Stamp stamp = now_stamp();
        Result<> flushed = machine_.flush_disks();
        if (!flushed && was_running_) {
            HAKO_TRY(instance_.resume());
            return std::unexpected(std::move(flushed).error());
        }
        HAKO_TRY(std::move(flushed));
        return stamp;
    });
}

Result<Fd> InstanceSource::image(const std::string& id) {
    return control_.call([&] { return machine_.open_image(id); });
}

Result<> InstanceSource::resume() {
    if (!was_running_) return {};
    return control_.call([&] { return instance_.resume(); });
}

Result<Blob> InstanceSource::save_state() {
    return control_.call([&]() -> Result<Blob> {
        const MachineState state = HAKO_TRY(machine_.save());
        return encode(SavedVm{.machine = HAKO_TRY(hako::encode(state)),
                              .helpers = machine_.config().helpers,
                              .coming = machine_.config().coming});
    });
}

Result<> InstanceSource::release_locks() {
    return control_.call([&]() -> Result<> {
        release_images(machine_, moving_);
        return {};
    });
}

Result<> InstanceSource::acquire_locks() {
    return control_.call([&] { return own_images(machine_, moving_); });
}

Result<std::optional<EpochRecord>> InstanceSource::read_epoch_record() {
    const auto path = record_path_of(instance_.config(), moving_);
    if (!path)
        return fail_host("the VM has no image that is a file and is written to, so no place for a record");
    return migration::read_epoch_record(*path);
}

Result<> InstanceSource::write_epoch_record(const EpochRecord& record) {
    const auto path = record_path_of(instance_.config(), moving_);
    if (!path) return {};
    return migration::write_epoch_record(*path, record);
}

}  // namespace hako::migration
