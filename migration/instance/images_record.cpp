#include "migration/instance/images_record.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace hako::migration {

std::optional<std::string> record_path_of(const MachineConfig& config, std::span<const std::string> moving) {
    for (const virtio::blk::Config& disk : config.disks) {
        struct stat status{};
        if (std::ranges::find(moving, disk.id) != moving.end()) continue;
        if (disk.readonly || ::stat(disk.path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
        return epoch_record_path(disk.path);
    }
    return std::nullopt;
}

std::string this_process() {
    return fmt::format("hako, process {}", ::getpid());
}

Result<> claim_record(const MachineConfig& config, const Uuid& vm) {
    const auto path = record_path_of(config);
    if (!path || ::access(path->c_str(), F_OK) != 0) return {};
    const auto found = read_epoch_record(*path);
    if (found && *found && (*found)->vm == vm) return {};
    return write_epoch_record(
        *path, {.epoch = found && *found ? (*found)->epoch + 1 : 1, .vm = vm, .who = this_process()});
}

}  // namespace hako::migration
