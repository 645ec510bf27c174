// What was written since a snapshot was taken, for one that is based on it.
#pragma once

#include "migration/memory/page_bits.h"
#include "migration/snapshot/identity.h"

namespace hako::migration {

/// While there is one, the machine logs writes. What it says here was fetched from the log already.
struct Changes {
    SnapshotId base{};  ///< the snapshot
    PageBits pages;
};

}  // namespace hako::migration
