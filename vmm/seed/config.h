// The content of a cloud-init NoCloud disk.
#pragma once

#include <optional>
#include <string>

namespace hako::seed {

/// Texts of the four NoCloud files; those unset are left out, but for meta-data, which always exists.
struct Config {
    std::string user_data;
    std::optional<std::string> meta_data;
    std::optional<std::string> network_config;
    std::optional<std::string> vendor_data;

    bool operator==(const Config&) const = default;
};

}  // namespace hako::seed
