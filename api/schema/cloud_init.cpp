#include "api/schema/cloud_init.h"

#include <algorithm>
#include <string>

namespace hako::api {

std::unexpected<Error> at_field(const json::Place& place, const Error& error) {
    // The files are called user-data and so on, the fields user_data.
    std::string field = error.chain().front();
    std::ranges::replace(field, '-', '_');
    std::string text = json::Place{.outer = &place, .name = field}.text();
    for (std::size_t i = 1; i < error.chain().size(); ++i)
        text += ": " + error.chain()[i];
    return std::unexpected(Error(error.fault(), std::move(text)));
}

Result<seed::Helper> build_seed(const seed::Config& config, const json::Place& place) {
    auto helper = seed::make_seed(config);
    if (!helper) return at_field(place, helper.error());
    return helper;
}

}  // namespace hako::api
