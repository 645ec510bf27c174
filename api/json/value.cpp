#include "api/json/value.h"

#include <algorithm>
#include <boost/json/error.hpp>
#include <boost/json/kind.hpp>
#include <boost/json/parse_options.hpp>
#include <boost/json/parser.hpp>
#include <boost/json/serialize.hpp>
#include <boost/system/error_code.hpp>
#include <limits>

#include "api/json/ascii.h"

namespace hako::api::json {
namespace {

namespace js = boost::json;

/// Of a text, in a message.
constexpr std::size_t kShownBytes = 60;

std::string shown(const js::value& value) {
    switch (value.kind()) {
        case js::kind::object:
            return "an object";
        case js::kind::array:
            return "an array";
        case js::kind::string: {
            const auto& text = value.get_string();
            const std::string_view view(text.data(), text.size());
            if (view.size() <= kShownBytes) return quoted(view);
            return quoted(view.substr(0, kShownBytes)) + "...";
        }
        default:
            return js::serialize(value);
    }
}

std::unexpected<Error> refuse(const js::value& value, const Place& place, std::string_view wanted) {
    return fail_input("{}: {} is wanted, not {}", place.text(), wanted, shown(value));
}

std::string wanted_number(Range range) {
    if (range.max == std::numeric_limits<std::uint64_t>::max())
        return fmt::format("a whole number from {} up", range.min);
    return fmt::format("a whole number from {} to {}", range.min, range.max);
}

}  // namespace

std::string Place::text() const {
    if (outer == nullptr) return "the body";
    std::string text = outer->outer == nullptr ? std::string() : outer->text();
    if (name.empty()) return text + fmt::format("[{}]", index);
    if (!text.empty()) text.push_back('.');
    return text.append(name);
}

Result<js::value> parse(std::string_view text) {
    js::parse_options options;
    options.max_depth = kMaxDepth;
    js::parser parser({}, options);
    boost::system::error_code error;
    const std::size_t used = parser.write(text.data(), text.size(), error);
    if (error == js::error::too_deep)
        return fail_input("the body is nested deeper than {} levels, at byte {}", kMaxDepth, used);
    if (error) return fail_input("the body is no JSON text in UTF-8: {} at byte {}", error.message(), used);
    return parser.release();
}

std::string to_text(const js::value& value) {
    return to_ascii(js::serialize(value));
}

Result<bool> read_bool(const js::value& value, const Place& place) {
    if (!value.is_bool()) return refuse(value, place, "true or false");
    return value.get_bool();
}

Result<std::uint64_t> read_number(const js::value& value, const Place& place, Range range) {
    std::uint64_t number = 0;
    if (value.is_uint64())
        number = value.get_uint64();
    else if (value.is_int64() && value.get_int64() >= 0)
        number = static_cast<std::uint64_t>(value.get_int64());
    else
        return refuse(value, place, wanted_number(range));
    if (number < range.min || number > range.max) return refuse(value, place, wanted_number(range));
    return number;
}

Result<std::string> read_text(const js::value& value, const Place& place) {
    if (!value.is_string()) return refuse(value, place, "a text");
    const auto& text = value.get_string();
    if (std::find(text.begin(), text.end(), '\0') != text.end())
        return fail_input("{}: a text without NUL characters is wanted", place.text());
    return std::string(text.data(), text.size());
}

Result<std::size_t> read_name(const js::value& value, const Place& place,
                              std::span<const std::string_view> names) {
    if (value.is_string()) {
        const auto& text = value.get_string();
        const auto found = std::ranges::find(names, std::string_view(text.data(), text.size()));
        if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
    }
    std::string wanted = "one of";
    for (const std::string_view name : names)
        wanted += fmt::format(" \"{}\"", name);
    return refuse(value, place, wanted);
}

Result<const js::array*> read_array(const js::value& value, const Place& place) {
    if (!value.is_array()) return refuse(value, place, "an array");
    if (value.get_array().size() > kMaxElements)
        return fail_input("{}: an array of at most {} elements is wanted, not {}", place.text(), kMaxElements,
                          value.get_array().size());
    return &value.get_array();
}

Result<const js::object*> read_object(const js::value& value, const Place& place) {
    if (!value.is_object()) return refuse(value, place, "an object");
    return &value.get_object();
}

Result<const js::value*> find(const js::object& object, const Place& place, bool required) {
    const js::value* const value = object.if_contains({place.name.data(), place.name.size()});
    if (value != nullptr && !value->is_null()) return value;
    if (required) return fail_input("{}: missing, and must be given", place.text());
    return nullptr;
}

}  // namespace hako::api::json
