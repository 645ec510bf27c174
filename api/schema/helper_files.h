// hako's own: the files of a helper disk, an object with a field for each path.
#pragma once

#include <boost/json/value.hpp>
#include <vector>

#include "api/json/fields.h"
#include "api/json/value.h"
#include "vmm/base/result.h"
#include "vmm/seed/file.h"

namespace hako::api {

/// In JSON: {"a/b": "text", "c": {"content": "text", "mode": 256}, "d": {"base64": "AAEC"}}.
struct HelperFiles {
    std::vector<seed::File> list;

    bool operator==(const HelperFiles&) const = default;
};

/// Refusals do not tell what is in a file: it may be a secret.
Result<> read(const boost::json::value& value, const json::Place& place, json::Range, HelperFiles& out);
boost::json::value to_value(const HelperFiles& files);

}  // namespace hako::api
