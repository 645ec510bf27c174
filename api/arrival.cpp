#include "api/arrival.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "api/departure.h"
#include "api/schema/vm.h"
#include "migration/instance/cpu_blob.h"
#include "migration/instance/image_locks.h"
#include "migration/instance/images_record.h"
#include "migration/instance/instance_source.h"
#include "migration/instance/saved_vm.h"
#include "migration/memory/userfault_trap.h"
#include "migration/progress.h"
#include "vmm/base/log.h"
#include "vmm/machine/state.h"

namespace hako::api {
namespace {

/// What it takes to build a machine from its state, about: the source counts it as downtime.
constexpr std::chrono::milliseconds kRestoreCost{20};

/// Memory as the source hands it over, or empty.
Result<GuestMemory> memory_for(const hako::MemoryConfig& config, std::vector<migration::ReceivedFd> fds) {
    if (fds.empty()) return GuestMemory::create(config);
    for (migration::ReceivedFd& fd : fds)
        if (fd.name == "memory") return GuestMemory::adopt(config, std::move(fd.fd));
    return fail_input("the source hands descriptors over, and none of them is its memory");
}

/// The source has written a record beside its image: where there is none, the image is another one.
Result<> check_storage(const std::string& record_path, const migration::Uuid& vm) {
    const auto found = HAKO_TRY(migration::read_epoch_record(record_path));
    if (found && found->vm == vm) return {};
    return fail_input("{} is {}: the image is not on the storage that the source has it on", record_path,
                      found ? "of another VM" : "not there");
}

std::vector<std::string> ids_of(const std::vector<migration::DiskShape>& disks) {
    std::vector<std::string> ids;
    for (const migration::DiskShape& disk : disks)
        ids.push_back(disk.id);
    return ids;
}

/// What is written to must be what was locked.
Result<> check_images(const std::vector<migration::TargetDisk>& targets,
                      const std::vector<virtio::blk::Disk>& disks) {
    for (const migration::TargetDisk& target : targets) {
        const bool same = std::ranges::any_of(disks, [&](const virtio::blk::Disk& disk) {
            return !disk.readonly() && migration::same_file(target.image.get(), disk.buffered_fd());
        });
        if (!same) return fail_host("image {} was replaced by another meanwhile", target.name);
    }
    return {};
}

}  // namespace

Result<std::vector<migration::TargetDisk>> Arrival::make_images(const migration::Hello& hello,
                                                                const MachineConfig& config) {
    HAKO_TRY(migration::check_disks_can_move(config, ids_of(hello.disks)));
    std::vector<migration::TargetDisk> targets;
    for (const migration::DiskShape& disk : hello.disks) {
        // Whoever sends may be anybody: it does not say which files are made here, or overwritten.
        if (std::ranges::find(changes_.disks, disk.id, &RestoredDisk::id) == changes_.disks.end())
            return fail_input("disk {} comes along: say in \"disks\" where its image goes", disk.id);
        const auto& path = std::ranges::find(config.disks, disk.id, &virtio::blk::Config::id)->path;
        targets.push_back(HAKO_TRY_WRAP(images_.open(path, disk.bytes), "disk {}", disk.id));
    }
    return targets;
}

Result<migration::Prepared> Arrival::prepare(const migration::Hello& hello,
                                             std::vector<migration::ReceivedFd> fds) {
    Departing departing = HAKO_TRY(read_departing(hello.config));
    HAKO_TRY(give_nets(departing.config, changes_.nets));
    HAKO_TRY(give_fs(departing.config, changes_.fs));
    HAKO_TRY(give_vsock(departing.config, changes_.vsock_socket));
    HAKO_TRY(give_disks(departing.config, changes_.disks));
    uuid_ = hello.uuid;
    runs_ = departing.running;
    instance_ = HAKO_TRY(control_.call(
        [&] { return vmm_.begin_arrival(std::move(departing.config), std::move(fds_), uuid_); }));
    const MachineConfig& config = instance_->config();
    // None of this is the control thread's yet, which goes on meanwhile.
    GuestMemory memory = HAKO_TRY(memory_for(config.memory, std::move(fds)));
    migration::Prepared prepared{.memory = migration::view_of(memory), .restore_cost = kRestoreCost};
    memory_ = prepared.memory;
    if (prepared.memory.layout != hello.layout)
        return fail_input("the source's memory has another layout than its configuration says");
    prepared.disks = HAKO_TRY(make_images(hello, config));
    const std::vector<std::string> moving = ids_of(hello.disks);
    HostResources resources =
        HAKO_TRY(HostResources::open(config, virtio::blk::Disk::Claim::kAnnounce, moving));
    HAKO_TRY(check_images(prepared.disks, resources.disks));
    chassis_.emplace(
        HAKO_TRY(Chassis::build(config, std::move(memory), std::move(resources), instance_->dirty_log())));
    HAKO_TRY(migration::check_cpus(hello.cpu, chassis_->cpu));
    record_path_ = migration::record_path_of(config, moving);
    if (record_path_) HAKO_TRY(check_storage(*record_path_, uuid_));
    return prepared;
}

Result<std::unique_ptr<migration::PageTrap>> Arrival::trap_pages() {
    const hako::MemoryConfig& memory = instance_->config().memory;
    if (memory.hugepages)
        return fail_input(
            "memory in huge pages is not there page by page: use Precopy, or memory without them");
    return migration::UserfaultTrap::create(memory_, memory.thp, chassis_->memory.discard_gate());
}

Result<> Arrival::load_state(std::span<const std::byte> state) {
    migration::SavedVm vm = HAKO_TRY(migration::decode_saved_vm(state));
    const MachineState machine = HAKO_TRY(decode(vm.machine));
    return control_.call([&]() -> Result<> {
        instance_->next_config()->helpers = std::move(vm.helpers);
        instance_->next_config()->coming = std::move(vm.coming);
        Chassis chassis = *std::move(chassis_);
        chassis_.reset();
        return instance_->restore(machine, std::move(chassis));
    });
}

Result<> Arrival::acquire_locks() {
    return control_.call([&]() -> Result<> {
        const Machine* const machine = HAKO_TRY(instance_->machine());
        return migration::own_images(*machine);
    });
}

Result<> Arrival::write_epoch_record(std::uint64_t epoch) {
    if (!record_path_) return {};
    const auto found = HAKO_TRY(migration::read_epoch_record(*record_path_));
    HAKO_TRY(migration::may_start(found, uuid_, epoch));
    return migration::write_epoch_record(*record_path_,
                                         {.epoch = epoch, .vm = uuid_, .who = migration::this_process()});
}

Result<> Arrival::withdraw_epoch_record(std::uint64_t epoch) {
    if (!record_path_) return {};
    const auto found = HAKO_TRY(migration::read_epoch_record(*record_path_));
    if (!found || found->epoch != epoch || found->vm != uuid_) return {};
    return migration::write_epoch_record(*record_path_,
                                         {.epoch = epoch, .vm = uuid_, .withdrawn = true, .who = found->who});
}

Result<migration::Stamp> Arrival::run() {
    return control_.call([&]() -> Result<migration::Stamp> {
        if (!runs_) return migration::now_stamp();
        HAKO_TRY(instance_->resume());
        const migration::Stamp first = migration::now_stamp();
        Machine* const machine = HAKO_TRY(instance_->machine());
        machine->announce();
        return first;
    });
}

void Arrival::halt() {
    if (!runs_) return;
    boost::asio::post(vmm_.control(), [instance = instance_] {
        if (const auto halted = instance->halt(); !halted) log_warn("{}", halted.error().text());
    });
}

void Arrival::go_on() {
    if (!runs_) return;
    boost::asio::post(vmm_.control(), [instance = instance_] {
        if (const auto runs = instance->go_on(); !runs) log_warn("{}", runs.error().text());
    });
}

void Arrival::discard() {
    images_.remove();
    control_.call([&] {
        chassis_.reset();
        if (std::exchange(instance_, nullptr) != nullptr) vmm_.end_arrival();
    });
}

}  // namespace hako::api
