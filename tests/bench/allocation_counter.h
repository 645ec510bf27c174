// Counts every operator new of the process that links it.
#pragma once

#include <cstdint>

namespace hako::bench {

/// Allocations so far, of all threads.
[[nodiscard]] std::uint64_t allocations();

}  // namespace hako::bench
