#include "tools/hako/cli_key_values.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <optional>

#include "tools/hako/cli_nearest.h"
#include "tools/hako/cli_number.h"

namespace hako::cli {
namespace {

/// Splits at single commas; a doubled one stands for itself.
std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> items(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != ',') {
            items.back() += text[i];
        } else if (i + 1 < text.size() && text[i + 1] == ',') {
            items.back() += ',';
            ++i;
        } else {
            items.emplace_back();
        }
    }
    return items;
}

bool contains(std::span<const std::string_view> words, std::string_view word) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

/// The `key` of `key=value`, if the item begins like that: "/a/b=c" is a path.
std::optional<std::string_view> key_of(std::string_view item) {
    const std::size_t length = item.find('=');
    if (length == std::string_view::npos || length == 0) return std::nullopt;
    const std::string_view key = item.substr(0, length);
    const bool word = std::all_of(key.begin(), key.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
    });
    return word ? std::optional(key) : std::nullopt;
}

}  // namespace

Result<KeyValues> KeyValues::parse(const KeyValueSyntax& syntax, std::string_view text) {
    KeyValues result;
    result.option_ = syntax.option;
    result.text_ = text;
    std::size_t bare_used = 0;
    for (const std::string& item : split(text)) {
        std::string key;
        std::string value;
        if (const auto named = key_of(item)) {
            key = *named;
            value = item.substr(named->size() + 1);
            if (!contains(syntax.keys, key))
                return result.refuse_all(fmt::format("no such key: {} (keys are {}{})", key,
                                                     fmt::join(syntax.keys, ", "),
                                                     did_you_mean(key, syntax.keys)));
        } else if (item.empty()) {
            return result.refuse_all("a value is missing (a comma that belongs to a value is written twice)");
        } else if (contains(syntax.flags, item)) {
            key = item;
            value = "on";
        } else if (bare_used < syntax.bare.size()) {
            key = syntax.bare[bare_used++];
            value = item;
        } else {
            return result.refuse_all(fmt::format("{} is not KEY=VALUE (keys are {}{})", item,
                                                 fmt::join(syntax.keys, ", "),
                                                 did_you_mean(item, syntax.keys)));
        }
        if (result.find(key) != nullptr && !contains(syntax.repeated, key))
            return result.refuse_all(fmt::format("{} is given twice", key));
        result.values_.emplace_back(std::move(key), std::move(value));
    }
    return result;
}

const std::string* KeyValues::find(std::string_view key) const {
    const auto found =
        std::find_if(values_.begin(), values_.end(), [&](const auto& pair) { return pair.first == key; });
    return found == values_.end() ? nullptr : &found->second;
}

std::vector<std::string> KeyValues::all(std::string_view key) const {
    std::vector<std::string> found;
    for (const auto& [name, value] : values_) {
        if (name == key) found.push_back(value);
    }
    return found;
}

Result<> KeyValues::read_text(std::string_view key, std::string& value) const {
    const std::string* found = find(key);
    if (found == nullptr) return {};
    if (found->empty()) return refuse_all(fmt::format("{}= must not be empty", key));
    value = *found;
    return {};
}

Result<> KeyValues::read_switch(std::string_view key, bool& value) const {
    const std::string* found = find(key);
    if (found == nullptr) return {};
    if (*found != "on" && *found != "off") return refuse(key, "on or off");
    value = *found == "on";
    return {};
}

Result<> KeyValues::read_wide(std::string_view key, std::uint64_t& value, std::uint64_t min,
                              std::uint64_t max) const {
    const std::string* found = find(key);
    if (found == nullptr) return {};
    const auto number = parse_number(*found, min, max);
    if (!number) return refuse(key, fmt::format("a whole number from {} to {}", min, max));
    value = *number;
    return {};
}

std::unexpected<Error> KeyValues::refuse(std::string_view key, std::string_view allowed) const {
    const std::string* found = find(key);
    return refuse_all(fmt::format("{} must be {}, not {}", key, allowed,
                                  found == nullptr || found->empty() ? "empty" : *found));
}

std::unexpected<Error> KeyValues::refuse_all(std::string_view message) const {
    return fail_input("{}{}{}: {}", option_, text_.empty() ? "" : " ", text_, message);
}

}  // namespace hako::cli
