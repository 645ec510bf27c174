// One client: its requests, one after the other.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "api/http/request_parser.h"
#include "api/http/server.h"

namespace hako::api::http {

class Connection : public std::enable_shared_from_this<Connection> {
  public:
    using Socket = boost::asio::local::stream_protocol::socket;

    /// `handler` lives as long as this.
    Connection(Socket socket, const ServerLimits& limits, const Handler& handler);

    /// Until the client has gone or is refused. Run under the slot of cancelled().
    boost::asio::awaitable<void> serve();
    /// Ends serve() soon, whatever it waits for.
    void close();
    [[nodiscard]] boost::asio::cancellation_slot cancelled() { return cancel_.slot(); }

  private:
    enum class Read { kRequest, kEnd, kRefused };

    /// Into `request`, or `refusal`.
    boost::asio::awaitable<Read> read(Request& request, Response& refusal);
    /// False: the client is gone, or was too slow.
    boost::asio::awaitable<bool> fill();
    boost::asio::awaitable<bool> send(std::string text);
    boost::asio::awaitable<Response> answer(Request& request);
    /// False: the client is gone.
    boost::asio::awaitable<bool> send_stream(const Response& response);
    /// close() when the client hangs up, of which nobody is told who does not read.
    void watch_for_hangup();
    /// Reads on for a while: a close with bytes unread would take the refusal away from the client.
    boost::asio::awaitable<void> linger();
    boost::asio::awaitable<bool> readable();

    void set_deadline(std::chrono::milliseconds duration);
    void clear_deadline();

    Socket socket_;
    const ServerLimits& limits_;
    const Handler& handler_;
    RequestParser parser_;
    boost::asio::steady_timer timer_;
    boost::asio::cancellation_signal cancel_;
    bool late_ = false;      ///< the deadline has passed
    bool fds_lost_ = false;  ///< what came cannot be served
    bool served_ = false;    ///< at least one request
};

}  // namespace hako::api::http
