#include "api/router/router.h"

#include <fmt/core.h>

#include <utility>

namespace hako::api {

using http::Method;
using http::Response;
using http::Status;

void Router::get(std::string_view name, http::Handler handler) {
    add(Method::kGet, std::string(kBase).append(name), Body::kNone, std::move(handler));
}

void Router::put(std::string_view name, Body body, http::Handler handler) {
    add(Method::kPut, std::string(kBase).append(name), body, std::move(handler));
}

void Router::add(Method method, std::string path, Body body, http::Handler handler) {
    paths_[std::move(path)].insert_or_assign(method, Route{.body = body, .handler = std::move(handler)});
}

boost::asio::awaitable<Response> Router::answer(http::Request& request) const {
    const auto path = paths_.find(request.path);
    if (path == paths_.end()) co_return http::failure(Status::kNotFound, {"Not Found"});
    const Methods& methods = path->second;
    const auto found = methods.find(request.method == Method::kHead ? Method::kGet : request.method);
    if (found == methods.end()) {
        std::string allow;
        for (const auto& [method, route] : methods)
            allow.append(allow.empty() ? "" : ", ").append(http::method_name(method));
        Response response =
            http::failure(Status::kMethodNotAllowed,
                          {"Method Not Allowed", fmt::format("{} takes {}", path->first, allow)});
        response.allow = std::move(allow);
        co_return response;
    }
    const Route& route = found->second;
    if (route.body == Body::kRequired && request.body.empty())
        co_return http::failure(Status::kBadRequest,
                                {"Bad Request", fmt::format("{} needs a JSON body", path->first)});
    if (route.body == Body::kNone && found->first != Method::kGet && !request.body.empty())
        co_return http::failure(Status::kBadRequest,
                                {"Bad Request", fmt::format("{} takes no body", path->first)});
    co_return co_await route.handler(request);
}

}  // namespace hako::api
