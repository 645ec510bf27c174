// MISSING: which pages are not at the destination, in frames.
#pragma once

#include <vector>

#include "migration/failure.h"
#include "migration/memory/page_bits.h"
#include "migration/protocol/messages.h"

namespace hako::migration {

/// The frames that tell of set bits; at least one, which says that this is a postcopy.
[[nodiscard]] std::vector<Missing> split_missing(const PageBits& bits);
/// Sets bits that the peer tells of, all inside a checked layout.
Outcome<> add_missing(PageBits& bits, const MemoryLayout& layout, const Missing& part);

}  // namespace hako::migration
