// What a user says about what the guest boots.
#pragma once

#include <string>

namespace hako {

struct PayloadConfig {
    std::string kernel;  ///< bzImage or ELF with a PVH note
    std::string initrd;  ///< empty: none
    std::string command_line;

    bool operator==(const PayloadConfig&) const = default;
};

}  // namespace hako
