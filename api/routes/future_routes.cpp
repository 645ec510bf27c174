#include "api/routes/future_routes.h"

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "api/json/codec.h"
#include "api/routes/handler.h"
#include "api/schema/opaque.h"

namespace hako::api {
namespace {

/// Path, and what it needs.
constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kFuture = {{
    {"vm.add-device", "VFIO devices"},
    {"vm.add-user-device", "vfio-user devices"},
    {"vm.add-generic-vhost-user", "vhost-user devices"},
    {"vm.add-pmem", "virtio-pmem devices"},
    {"vm.add-vdpa", "vDPA devices"},
}};

http::Response missing(std::string_view feature) {
    return http::failure(http::Status::kNotImplemented, {std::string(kVmError), "Not Implemented",
                                                         fmt::format("hako does not have {} yet", feature)});
}

}  // namespace

void add_future_routes(Router& router) {
    for (const auto& [name, feature] : kFuture)
        router.put(name, Router::Body::kRequired, at_once([feature = feature](http::Request& request) {
                       const auto body = json::decode<Opaque>(request.body);
                       return body ? missing(feature) : http::failure(body.error());
                   }));
}

}  // namespace hako::api
