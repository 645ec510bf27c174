// Handlers that answer at once.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "api/http/message.h"
#include "api/http/server.h"
#include "api/json/codec.h"
#include "vmm/base/result.h"

namespace hako::api {

/// The body of a 200, or "" for a 204; an error is answered with its chain and the status of its fault.
using Answer = std::function<Result<std::string>(http::Request&)>;

/// What clients find first in an error of the VM, as Cloud Hypervisor's tell them.
inline constexpr std::string_view kVmError = "Error from API";

[[nodiscard]] inline http::Response respond(Result<std::string> body) {
    if (!body) return http::failure(std::move(body).error().wrap(std::string(kVmError)));
    if (body->empty()) return http::Response{.status = http::Status::kNoContent};
    return http::ok(*std::move(body));
}

/// A handler that answers without waiting for anything.
[[nodiscard]] inline http::Handler at_once(std::function<http::Response(http::Request&)> function) {
    return
        [function = std::move(function)](http::Request& request) -> boost::asio::awaitable<http::Response> {
            co_return function(request);
        };
}

[[nodiscard]] inline http::Handler handler(Answer answer) {
    return at_once([answer = std::move(answer)](http::Request& request) { return respond(answer(request)); });
}

/// The same for a request whose body is a T; one that is not is refused before `answer` is asked.
template <json::Described T>
[[nodiscard]] http::Handler handler(std::function<Result<std::string>(T, http::Request&)> answer) {
    return at_once([answer = std::move(answer)](http::Request& request) {
        Result<T> body = json::decode<T>(request.body);
        if (!body) return http::failure(body.error());
        return respond(answer(*std::move(body), request));
    });
}

}  // namespace hako::api
