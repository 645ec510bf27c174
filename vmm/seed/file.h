// One file of a small disk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace hako::seed {

struct File {
    std::string path;  ///< from the root, "a/b", in UTF-8
    std::string content;
    std::optional<std::uint32_t> mode = std::nullopt;  ///< permissions, at most 0777; unset: 0444

    bool operator==(const File&) const = default;
};

}  // namespace hako::seed
