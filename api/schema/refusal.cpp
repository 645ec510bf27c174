#include "api/schema/refusal.h"

#include <algorithm>

#include "api/json/ascii.h"

namespace hako::api {
namespace {

constexpr std::size_t kMaxId = 64;
/// Of a value, in a message.
constexpr std::size_t kShownBytes = 60;

bool id_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

std::string field_text(const json::Place& place, std::string_view name) {
    return json::Place{.outer = &place, .name = name}.text();
}

}  // namespace

std::unexpected<Error> refuse(const json::Place& place, std::string_view name, std::string_view wanted,
                              std::string_view given) {
    return fail_input("{}: {} is wanted, not {}", field_text(place, name), wanted,
                      json::quoted(given.substr(0, kShownBytes)));
}

std::unexpected<Error> not_supported(const json::Place& place, std::string_view name,
                                     std::string_view advice) {
    return fail_input("{}: hako does not support this: {}", field_text(place, name), advice);
}

Result<> check_id(const json::Place& place, const std::string& id) {
    if (id.empty() || id.size() > kMaxId || !std::ranges::all_of(id, id_character))
        return refuse(place, "id", fmt::format("a text of 1 to {} letters, digits, '.', '_' or '-'", kMaxId),
                      id);
    if (id.starts_with("__"))
        return refuse(place, "id", "a text that does not begin with \"__\", as hako's own ids do,", id);
    return {};
}

std::string free_id(std::string_view prefix, const std::function<bool(std::string_view)>& taken) {
    for (unsigned number = 0;; ++number) {
        std::string id = fmt::format("{}{}", prefix, number);
        if (!taken(id)) return id;
    }
}

}  // namespace hako::api
