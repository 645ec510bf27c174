#include "migration/snapshot/identity.h"

#include <random>

namespace hako::migration {

SnapshotId new_snapshot_id() {
    std::random_device entropy;
    SnapshotId id;
    for (std::uint8_t& byte : id)
        byte = static_cast<std::uint8_t>(entropy());
    return id;
}

}  // namespace hako::migration
