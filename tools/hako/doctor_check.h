// What one check of `hako doctor` found.
#pragma once

#include <string>
#include <vector>

namespace hako::doctor {

enum class Status {
    kOk,
    kWarn,  ///< VMs run; something optional is missing
    kFail,  ///< VMs cannot run here
};

struct Check {
    std::string name;
    Status status = Status::kOk;
    std::string found;   ///< one line
    std::string advice;  ///< what to do about it, one line; never empty unless the status is kOk

    bool operator==(const Check&) const = default;
};

using Checks = std::vector<Check>;

}  // namespace hako::doctor
