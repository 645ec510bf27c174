#include "tools/hako/helper_disks.h"

#include <utility>

#include "vmm/seed/read_file.h"
#include "vmm/seed/seed.h"

namespace hako {

Result<seed::Config> read_seed(const cli::SeedPaths& paths) {
    seed::Config config = HAKO_TRY_WRAP(seed::from_files({.user_data = paths.user_data,
                                                          .meta_data = paths.meta_data,
                                                          .network_config = paths.network_config,
                                                          .vendor_data = paths.vendor_data}),
                                        "--cloud-init");
    config.instance_id = paths.instance_id;
    config.hostname = paths.hostname;
    config.format = paths.format;
    return config;
}

Result<seed::DiskConfig> read_helper(const cli::HelperFolder& helper) {
    seed::DiskConfig config{.label = helper.label, .format = helper.format, .files = {}};
    config.files = HAKO_TRY_WRAP(seed::read_folder(helper.folder), "--helper-disk {}", helper.id);
    for (seed::File& file : config.files)
        file.mode = helper.mode;
    return config;
}

Result<std::vector<seed::Helper>> build_helpers(const std::optional<cli::SeedPaths>& cloud_init,
                                                const std::vector<cli::HelperFolder>& helpers) {
    std::vector<seed::Helper> built;
    if (cloud_init) {
        const seed::Config config = HAKO_TRY(read_seed(*cloud_init));
        built.push_back(HAKO_TRY_WRAP(seed::make_seed(config), "--cloud-init"));
    }
    for (const cli::HelperFolder& helper : helpers) {
        const seed::DiskConfig config = HAKO_TRY(read_helper(helper));
        built.push_back(HAKO_TRY_WRAP(seed::make_helper(helper.id, helper.serial, config), "--helper-disk {}",
                                      helper.id));
    }
    return built;
}

}  // namespace hako
