// What waits for the guest to let go of something.
#pragma once

#include <string>
#include <vector>

#include "virtio/net/mac.h"
#include "vmm/seed/helper.h"

namespace hako {

/// Another address for an interface. Drivers read an interface's address once, so it takes another device.
struct NewMac {
    std::string id;
    virtio::net::Mac mac{};

    bool operator==(const NewMac&) const = default;
};

/// What comes into the places of the devices with these ids, once the guest has let go of them, or at the
/// next boot.
struct Coming {
    std::vector<seed::Helper> helpers;
    std::vector<NewMac> macs;

    [[nodiscard]] bool empty() const { return helpers.empty() && macs.empty(); }
    /// In the place of the one with its id.
    void put(NewMac mac) {
        std::erase_if(macs, [&](const NewMac& each) { return each.id == mac.id; });
        macs.push_back(std::move(mac));
    }
    void forget(const std::string& id) {
        std::erase_if(helpers, [&](const seed::Helper& each) { return each.id == id; });
        std::erase_if(macs, [&](const NewMac& each) { return each.id == id; });
    }
};

}  // namespace hako
