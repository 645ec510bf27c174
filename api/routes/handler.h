// Handlers that answer at once.
#pragma once

#include <functional>
#include <string>

#include "api/http/message.h"
#include "api/http/server.h"
#include "vmm/base/result.h"

namespace hako::api {

/// The body of a 200, or "" for a 204; an error is answered with its chain and the status of its fault.
using Answer = std::function<Result<std::string>(http::Request&)>;

[[nodiscard]] inline http::Handler handler(Answer answer) {
    return [answer = std::move(answer)](http::Request& request) -> boost::asio::awaitable<http::Response> {
        Result<std::string> body = answer(request);
        if (!body) co_return http::failure(body.error());
        if (body->empty()) co_return http::Response{.status = http::Status::kNoContent};
        co_return http::ok(*std::move(body));
    };
}

}  // namespace hako::api
