#include "vmm/seed/helper.h"

#include <algorithm>
#include <utility>

#include "vmm/seed/seed.h"

namespace hako::seed {

Result<Helper> make_helper(std::string id, std::string serial, const DiskConfig& config) {
    auto image = std::make_shared<const Image>(HAKO_TRY(build(config)));
    return Helper{.id = std::move(id),
                  .label = config.label,
                  .serial = std::move(serial),
                  .format = config.format,
                  .image = std::move(image)};
}

Result<Helper> make_seed(const Config& config) {
    const DiskConfig disk = HAKO_TRY(disk_of(config));
    return make_helper(kSeedId, disk.label, disk);
}

void put_helper(std::vector<Helper>& helpers, Helper helper) {
    const auto there = std::ranges::find(helpers, helper.id, &Helper::id);
    if (there == helpers.end())
        helpers.push_back(std::move(helper));
    else
        *there = std::move(helper);
}

}  // namespace hako::seed
