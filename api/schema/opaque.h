// What hako does not have, read only so that it can be refused by its name.
#pragma once

#include <tuple>

#include "api/json/fields.h"

namespace hako::api {

/// Any object.
struct Opaque {
    bool operator==(const Opaque&) const = default;
};

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::Opaque> {
    static constexpr std::tuple<> list{};
};
