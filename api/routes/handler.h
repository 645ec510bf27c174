// How routes are answered: at once, or by the control thread.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "api/http/message.h"
#include "api/http/server.h"
#include "api/json/codec.h"
#include "api/routes/on_control.h"
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

/// A handler that works on the VM: `answer` is asked on the thread that runs `control`.
[[nodiscard]] inline http::Handler handler(boost::asio::io_context& control, Answer answer) {
    return [&control,
            answer = std::move(answer)](http::Request& request) -> boost::asio::awaitable<http::Response> {
        std::function<http::Response()> work = [&] { return respond(answer(request)); };
        co_return co_await on_control(control, std::move(work));
    };
}

/// The same for a request whose body is a T; one that is not is refused before `answer` is asked.
template <json::Described T>
[[nodiscard]] http::Handler handler(boost::asio::io_context& control,
                                    std::function<Result<std::string>(T, http::Request&)> answer) {
    return [&control,
            answer = std::move(answer)](http::Request& request) -> boost::asio::awaitable<http::Response> {
        Result<T> body = json::decode<T>(request.body);
        if (!body) co_return http::failure(body.error());
        std::function<http::Response()> work = [&] { return respond(answer(*std::move(body), request)); };
        co_return co_await on_control(control, std::move(work));
    };
}

}  // namespace hako::api
