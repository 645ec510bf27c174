// Where a core dump goes.
#pragma once

#include <string>
#include <tuple>

#include "api/json/fields.h"

namespace hako::api {

struct VmCoredumpData {
    std::string destination_url;  ///< "file:///path" of a file that is not there yet

    bool operator==(const VmCoredumpData&) const = default;
};

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::VmCoredumpData> {
    static constexpr auto list = std::tuple(required("destination_url", &VmCoredumpData::destination_url));
};
