// From the thread that serves the API to the control thread and back.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>

#include "api/http/message.h"

namespace hako::api {

/// Runs `work` on the thread that runs `control`, while this one serves others. What `work` uses stays
/// untouched by the caller meanwhile. It is done, and waited for, even when the client has gone.
boost::asio::awaitable<http::Response> on_control(boost::asio::io_context& control,
                                                  std::function<http::Response()> work);

}  // namespace hako::api
