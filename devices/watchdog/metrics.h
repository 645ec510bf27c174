// What a watchdog counts.
#pragma once

#include <cstdint>

namespace hako::watchdog {

struct Metrics {
    std::uint64_t kicks = 0;     ///< reloads by the guest
    std::uint64_t warnings = 0;  ///< first stages that ended without one
};

}  // namespace hako::watchdog
