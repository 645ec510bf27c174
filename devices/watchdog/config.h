// The watchdog as the user describes it.
#pragma once

#include <string>

namespace hako::watchdog {

struct Config {
    std::string id = "__watchdog";
    bool timed_out = false;  ///< it has reset the machine, and no guest has read and cleared that yet

    bool operator==(const Config&) const = default;
};

}  // namespace hako::watchdog
