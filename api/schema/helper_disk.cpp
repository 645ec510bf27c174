#include "api/schema/helper_disk.h"

#include <utility>

#include "api/schema/disk.h"
#include "api/schema/refusal.h"

namespace hako::api {
namespace {

constexpr json::Place kBody;

}  // namespace

Result<seed::Helper> to_machine(const HelperDiskConfig& config, const json::Place& place) {
    HAKO_TRY(check_id(place, config.id));
    std::string serial = HAKO_TRY(disk_serial(config.serial, config.id, place));
    auto helper =
        seed::make_helper(config.id, std::move(serial),
                          {.label = config.label, .format = config.format, .files = config.files.list});
    if (!helper) return at_field(place, helper.error());
    return helper;
}

Result<seed::Helper> to_machine(const VmUpdateHelper& update, const seed::Helper& old) {
    if (old.id == seed::kSeedId) {
        if (!update.cloud_init || update.files)
            return fail_input("cloud_init: the new texts of disk {} are wanted, and nothing else", old.id);
        return build_seed(*update.cloud_init, {.outer = &kBody, .name = "cloud_init"});
    }
    if (!update.files || update.cloud_init)
        return fail_input("files: the new files of disk {} are wanted, and nothing else", old.id);
    auto helper = seed::make_helper(old.id, old.serial,
                                    {.label = old.label, .format = old.format, .files = update.files->list});
    if (!helper) return at_field(kBody, helper.error());
    return helper;
}

HelperDiskInfo info_of(const seed::Helper& helper) {
    return {.id = helper.id,
            .label = helper.label,
            .serial = helper.serial,
            .format = helper.format,
            .size = helper.image->size,
            .checksum = fmt::format("{:016x}", helper.image->checksum)};
}

}  // namespace hako::api
