// The HTTP server of the control thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include "api/http/message.h"
#include "api/http/request_parser.h"
#include "vmm/base/listen_socket.h"
#include "vmm/base/result.h"

namespace hako::api::http {

struct ServerLimits {
    RequestLimits request;
    std::size_t connections = 256;                 ///< beyond: 503, and closed
    std::chrono::milliseconds first_byte{60'000};  ///< from the connection; later a client may rest for ever
    std::chrono::milliseconds whole_request{30'000};  ///< from its first byte to its last
    std::chrono::milliseconds response{30'000};       ///< until the client has taken it
    std::chrono::milliseconds farewell{2'000};        ///< for a client that still sends when it was refused
};

/// Answers one request. While it waits, other connections are served; on its own connection the next request
/// waits for the answer. An exception is answered with 500. The request lives until the answer is there.
using Handler = std::function<boost::asio::awaitable<Response>(Request& request)>;

/// Serves HTTP/1.1 on a unix socket. All of it runs on the one thread that runs `io`.
class Server {
  public:
    static Result<Server> listen(boost::asio::io_context& io, SocketSpec socket, Handler handler,
                                 const ServerLimits& limits = {});

    Server(Server&& other) noexcept;
    Server& operator=(Server&&) = delete;
    /// close(). The io_context must still be there.
    ~Server();

    /// Takes no more clients, drops those there are, and cancels their handlers (as Asio does it: with
    /// operation_aborted, when the io_context runs next).
    void close();
    [[nodiscard]] std::size_t connections() const;

  private:
    struct State;
    explicit Server(std::shared_ptr<State> state);

    std::shared_ptr<State> state_;
};

}  // namespace hako::api::http
