// What happens, to those who listen.
#pragma once

#include <boost/asio/io_context.hpp>

#include "api/events/event_log.h"
#include "api/router/router.h"

namespace hako::api {

/// hako's own: GET events?since=N&follow=true|false. One JSON document a line (stream_text()), from the event
/// after number N on (without `since`: from now on); an empty line now and then while nothing happens.
/// Without `follow`, what is kept, and then the end. All of it outlives the router;
/// `io` is that of the thread that serves the API.
void add_event_routes(Router& router, boost::asio::io_context& io, EventLog& events);

}  // namespace hako::api
