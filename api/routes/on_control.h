// From the thread that serves the API to the control thread and back.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>

#include "api/http/message.h"

namespace hako::api {

/// Says what the answer is, on the control thread, once.
using Done = std::function<void(http::Response)>;

/// Calls `start` on the thread that runs `control`, while this one serves others, and waits for the answer:
/// that may come later. What `start` uses stays untouched by the caller meanwhile. It is carried out and
/// waited for even when the client has gone.
boost::asio::awaitable<http::Response> on_control(boost::asio::io_context& control,
                                                  std::function<void(Done)> start);

/// The same for work that has its answer when it returns.
boost::asio::awaitable<http::Response> on_control(boost::asio::io_context& control,
                                                  std::function<http::Response()> work);

}  // namespace hako::api
