// Boost.JSON values, checked one at a time; each refusal names its place and what is wanted there.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "api/json/fields.h"
#include "vmm/base/result.h"

namespace hako::api::json {

/// The most elements that an array may have.
inline constexpr std::size_t kMaxElements = 4096;
/// The most arrays and objects within one another.
inline constexpr std::size_t kMaxDepth = 16;

/// A place in a document, as a list from the inside out: it is spelled only when there is something to say.
struct Place {
    const Place* outer = nullptr;
    std::string_view name;  ///< of a field; empty: an array's element, or the whole
    std::size_t index = 0;

    /// "net[0].mtu"; "the body" for the whole.
    [[nodiscard]] std::string text() const;
};

/// UTF-8 with one JSON value in it. Of two fields with one name, the last counts.
[[nodiscard]] Result<boost::json::value> parse(std::string_view text);

/// One line, ASCII.
[[nodiscard]] std::string to_text(const boost::json::value& value);

[[nodiscard]] Result<bool> read_bool(const boost::json::value& value, const Place& place);
[[nodiscard]] Result<std::uint64_t> read_number(const boost::json::value& value, const Place& place,
                                                Range range);
/// Without NUL characters: most of these go to the kernel, which ends texts there.
[[nodiscard]] Result<std::string> read_text(const boost::json::value& value, const Place& place);
/// An index into `names`.
[[nodiscard]] Result<std::size_t> read_name(const boost::json::value& value, const Place& place,
                                            std::span<const std::string_view> names);
/// At most kMaxElements.
[[nodiscard]] Result<const boost::json::array*> read_array(const boost::json::value& value,
                                                           const Place& place);
[[nodiscard]] Result<const boost::json::object*> read_object(const boost::json::value& value,
                                                             const Place& place);
/// The field's value; nullptr if it is not there, or null, which a required one may not be.
[[nodiscard]] Result<const boost::json::value*> find(const boost::json::object& object, const Place& place,
                                                     bool required);

}  // namespace hako::api::json
