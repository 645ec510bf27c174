// `hako seed`, and the disks that the command line makes of the host's files. Nothing has been opened yet.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "vmm/seed/format.h"

namespace hako::cli {

/// Files of a cloud-init seed, and what is said beside them.
struct SeedPaths {
    std::string user_data;
    std::optional<std::string> meta_data = std::nullopt;
    std::optional<std::string> network_config = std::nullopt;
    std::optional<std::string> vendor_data = std::nullopt;
    std::optional<std::string> instance_id = std::nullopt;
    std::optional<std::string> hostname = std::nullopt;
    seed::Format format = seed::Format::kIso9660;

    bool operator==(const SeedPaths&) const = default;
};

/// A disk with the files of a folder.
struct HelperFolder {
    std::string id;
    std::string folder;
    std::string label = "cfgdata";
    std::string serial = {};  ///< empty: how the id begins
    seed::Format format = seed::Format::kIso9660;
    std::optional<std::uint32_t> mode = std::nullopt;  ///< of all files

    bool operator==(const HelperFolder&) const = default;
};

struct SeedCommand {
    enum class Verb {
        kBuild,  ///< into a file
        kCheck,
        kShow,  ///< what is in an image
    };
    Verb verb = Verb::kCheck;
    // One of them, for kBuild and kCheck.
    std::optional<SeedPaths> cloud_init = std::nullopt;
    std::optional<HelperFolder> helper = std::nullopt;
    std::string image = {};                          ///< where kBuild writes, what kShow reads
    std::optional<std::string> file = std::nullopt;  ///< kShow: print that file instead of the list

    bool operator==(const SeedCommand&) const = default;
};

}  // namespace hako::cli
