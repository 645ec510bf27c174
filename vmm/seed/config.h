// The content of a cloud-init NoCloud disk.
#pragma once

#include <optional>
#include <string>

#include "vmm/seed/format.h"

namespace hako::seed {

/// Texts of the four NoCloud files; those unset are left out, but for meta-data, which always exists.
struct Config {
    std::string user_data;
    std::optional<std::string> meta_data = std::nullopt;
    std::optional<std::string> network_config = std::nullopt;
    std::optional<std::string> vendor_data = std::nullopt;
    std::optional<std::string> instance_id =
        std::nullopt;  ///< put into meta-data; unset: what is there, or derived
    std::optional<std::string> hostname = std::nullopt;  ///< put into meta-data as local-hostname
    Format format = Format::kIso9660;

    bool operator==(const Config&) const = default;
};

}  // namespace hako::seed
