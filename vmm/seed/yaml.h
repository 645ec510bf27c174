// Looks at a YAML text as far as a seed needs it: is it one mapping, and which keys does it have?
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace hako::seed {

struct YamlMapping {
    std::vector<std::string> keys;  ///< top-level, in order; one that is no scalar is ""
    bool flow = false;              ///< written as {…}
    std::size_t begin = 0;          ///< byte offset of the opening brace or of the first key
    std::size_t column = 0;         ///< of `begin` in its line, from 0
    /// Of each key, and as "network/version" of those in a mapping `network`; "" if it is no scalar.
    std::map<std::string, std::string> values;

    [[nodiscard]] const std::string* find(const std::string& key) const {
        const auto found = values.find(key);
        return found == values.end() ? nullptr : &found->second;
    }
};

/// The mapping that is the only document in `text`; nothing if there is no document (comments only).
/// The user's error, with line and column, if it does not parse, is not UTF-8, is something else, is nested
/// deeper than 100 or would grow beyond a million nodes with its aliases expanded.
Result<std::optional<YamlMapping>> parse_mapping(std::string_view text);

}  // namespace hako::seed
