#include "api/schema/file_url.h"

#include "api/schema/refusal.h"

namespace hako::api {

Result<std::string> path_of_url(std::string_view field, std::string_view url) {
    constexpr std::string_view kScheme = "file://";
    if (!url.starts_with(kScheme) || url.size() <= kScheme.size() || url[kScheme.size()] != '/')
        return refuse({}, field, "file:// and an absolute path", url);
    return std::string(url.substr(kScheme.size()));
}

}  // namespace hako::api
