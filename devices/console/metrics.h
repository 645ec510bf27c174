// What a console's host end did, counted by its io thread and read from anywhere.
#pragma once

#include <cstdint>

#include "vmm/base/counter.h"

namespace hako::console {

/// Values at one moment.
struct Metrics {
    std::uint64_t output = 0;  ///< bytes that the guest wrote
    std::uint64_t input = 0;   ///< bytes that the guest was given
    std::uint64_t dropped =
        0;  ///< bytes of output that a pty or socket did not get: nobody there, or too slow
    std::uint64_t clients = 0;  ///< that attached to a pty or socket
    std::uint64_t refused = 0;  ///< clients of a socket while there was one

    bool operator==(const Metrics&) const = default;
};

/// The live counters of one console.
struct LiveMetrics {
    Counter output;
    Counter input;
    Counter dropped;
    Counter clients;
    Counter refused;

    [[nodiscard]] Metrics values() const {
        return {.output = output.get(),
                .input = input.get(),
                .dropped = dropped.get(),
                .clients = clients.get(),
                .refused = refused.get()};
    }
};

}  // namespace hako::console
