#include "api/http/server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <unordered_set>
#include <utility>

#include "api/http/connection.h"
#include "vmm/base/log.h"

namespace hako::api::http {
namespace {

namespace asio = boost::asio;
using Protocol = asio::local::stream_protocol;

/// Until files are closed again, when none can be opened.
constexpr std::chrono::milliseconds kAcceptPause{100};

}  // namespace

struct Server::State {
    State(asio::io_context& context, ListenSocket listening, Handler on_request, const ServerLimits& bounds)
        : io(context),
          socket(std::move(listening)),
          acceptor(context),
          pause(context),
          handler(std::move(on_request)),
          limits(bounds) {}

    // Coroutines own what they work on: they may start, or end, when the Server has gone.
    static asio::awaitable<void> accept(std::shared_ptr<State> self);
    static asio::awaitable<void> serve(std::shared_ptr<State> self, std::shared_ptr<Connection> connection);
    static void take(const std::shared_ptr<State>& self, Protocol::socket client);
    void close();

    asio::io_context& io;
    ListenSocket socket;
    Protocol::acceptor acceptor;  ///< on a duplicate of `socket`
    asio::steady_timer pause;
    Handler handler;
    ServerLimits limits;
    std::unordered_set<std::shared_ptr<Connection>> connections;
    LogLimit log_limit;
    bool closed = false;
};

asio::awaitable<void> Server::State::accept(std::shared_ptr<State> self) {
    while (!self->closed) {
        Protocol::socket client(self->io);
        boost::system::error_code error;
        co_await self->acceptor.async_accept(client, asio::redirect_error(asio::use_awaitable, error));
        if (self->closed) break;
        if (!error) {
            take(self, std::move(client));
            continue;
        }
        if (error == asio::error::connection_aborted) continue;
        self->log_limit.warn("API: a client cannot be taken: {}", error.message());
        self->pause.expires_after(kAcceptPause);
        co_await self->pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
}

void Server::State::take(const std::shared_ptr<State>& self, Protocol::socket client) {
    const std::size_t count = self->connections.size();
    if (count >= self->limits.connections) {
        self->log_limit.warn("API: a client is refused: {} others are connected", count);
        const std::string text =
            wire_text(failure(Status::kServiceUnavailable,
                              {"Service Unavailable",
                               fmt::format("{} clients are connected: close a connection first", count)}),
                      false);
        [[maybe_unused]] const ssize_t sent =
            ::send(client.native_handle(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        return;
    }
    auto connection = std::make_shared<Connection>(std::move(client), self->limits, self->handler);
    self->connections.insert(connection);
    asio::co_spawn(self->io, serve(self, connection),
                   asio::bind_cancellation_slot(connection->cancelled(), asio::detached));
}

asio::awaitable<void> Server::State::serve(std::shared_ptr<State> self,
                                           std::shared_ptr<Connection> connection) {
    try {
        co_await connection->serve();
    } catch (const std::exception& error) {
        if (!self->closed) self->log_limit.warn("API: a connection ends: {}", error.what());
    }
    self->connections.erase(connection);
}

void Server::State::close() {
    if (closed) return;
    closed = true;
    boost::system::error_code ignored;
    acceptor.close(ignored);
    pause.cancel();
    socket.close();
    for (const auto& connection : std::exchange(connections, {}))
        connection->close();
}

Server::Server(std::shared_ptr<State> state) : state_(std::move(state)) {}
Server::Server(Server&& other) noexcept = default;

Server::~Server() {
    if (state_) state_->close();
}

Result<Server> Server::listen(asio::io_context& io, SocketSpec socket, Handler handler,
                              const ServerLimits& limits) {
    ListenSocket listening = HAKO_TRY(ListenSocket::open(std::move(socket), "API socket"));
    const int duplicate = ::fcntl(listening.fd(), F_DUPFD_CLOEXEC, 3);
    if (duplicate < 0) return fail_errno(errno, "API socket: cannot be duplicated");
    auto state = std::make_shared<State>(io, std::move(listening), std::move(handler), limits);
    boost::system::error_code error;
    state->acceptor.assign(Protocol(), duplicate, error);
    if (error) {
        ::close(duplicate);
        return fail_host("API socket: cannot be watched: {}", error.message());
    }
    asio::co_spawn(io, State::accept(state), asio::detached);
    return Server(std::move(state));
}

void Server::close() {
    state_->close();
}

std::size_t Server::connections() const {
    return state_->connections.size();
}

}  // namespace hako::api::http
