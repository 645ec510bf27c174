// Places on the host's file system, as clients name them.
#pragma once

#include <string>
#include <string_view>

#include "vmm/base/result.h"

namespace hako::api {

/// "/a/b" of "file:///a/b". Anything else is refused by the name of the field that has it.
[[nodiscard]] Result<std::string> path_of_url(std::string_view field, std::string_view url);

}  // namespace hako::api
