#include "vmm/seed/short_names.h"

#include <fmt/core.h>

#include <algorithm>

namespace hako::seed {
namespace {

constexpr std::size_t kBase = 8;
constexpr std::size_t kExtension = 3;

bool allowed(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// In capitals, with "_" for what is not allowed; a character of several bytes is several of them.
std::string squeezed(std::string_view text, std::size_t length) {
    std::string result(text.substr(0, length));
    for (char& c : result) {
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
        if (!allowed(c)) c = '_';
    }
    return result;
}

}  // namespace

bool ShortNames::is_short(std::string_view name) {
    const std::size_t dot = name.find('.');
    const std::string_view base = name.substr(0, dot);
    const std::string_view extension =
        dot == std::string_view::npos ? std::string_view() : name.substr(dot + 1);
    return !base.empty() && base.size() <= kBase && extension.size() <= kExtension &&
           (dot == std::string_view::npos || !extension.empty()) && std::ranges::all_of(base, allowed) &&
           std::ranges::all_of(extension, allowed);
}

ShortName ShortNames::take(std::string_view name) {
    const std::size_t dot = name.rfind('.');
    const bool has_extension = dot != std::string_view::npos && dot > 0;
    ShortName result{.base = squeezed(name.substr(0, has_extension ? dot : name.size()), kBase),
                     .extension = has_extension ? squeezed(name.substr(dot + 1), kExtension) : std::string()};
    if (result.base.empty()) result.base = "_";
    if (taken_.insert(result).second) return result;
    for (const std::string base = result.base;;) {
        const std::string tail = fmt::format("{}{}", mark_, ++number_);
        result.base = base.substr(0, kBase - tail.size()) + tail;
        if (taken_.insert(result).second) return result;
    }
}

}  // namespace hako::seed
