#include "api/http/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/system/system_error.hpp>
#include <cerrno>
#include <exception>
#include <utility>

#include "api/http/receive.h"
#include "vmm/base/log.h"

namespace hako::api::http {
namespace {

namespace asio = boost::asio;

/// What a client that was refused may still send before the connection is cut.
constexpr std::size_t kMaxFarewellBytes = 64 * 1024 * 1024;

Response refuse(Status status, std::string cause) {
    return failure(status, {std::string(reason_phrase(status)), std::move(cause)});
}

}  // namespace

Connection::Connection(Socket socket, const ServerLimits& limits, const Handler& handler)
    : socket_(std::move(socket)),
      limits_(limits),
      handler_(handler),
      parser_(limits.request),
      timer_(socket_.get_executor()) {}

void Connection::close() {
    timer_.cancel();
    boost::system::error_code ignored;
    socket_.close(ignored);
    cancel_.emit(asio::cancellation_type::terminal);
    // co_spawn hands it on by a post of its own, and that needs the signal, even if serve() has ended by
    // then.
    asio::post(socket_.get_executor(), [self = shared_from_this()] {});
}

void Connection::set_deadline(std::chrono::milliseconds duration) {
    late_ = false;
    timer_.expires_after(duration);
    timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
        const auto self = weak.lock();
        // A wait that had ended when the deadline was moved comes here without an error.
        if (error || !self || self->timer_.expiry() > asio::steady_timer::clock_type::now()) return;
        self->late_ = true;
        boost::system::error_code ignored;
        self->socket_.cancel(ignored);
    });
}

void Connection::clear_deadline() {
    timer_.expires_at(asio::steady_timer::time_point::max());
    late_ = false;
}

asio::awaitable<void> Connection::serve() {
    for (;;) {
        Response response;
        bool keep_alive = false;
        bool head_only = false;
        bool refused = false;
        {
            Request request;
            const Read outcome = co_await read(request, response);
            if (outcome == Read::kEnd) co_return;
            refused = outcome == Read::kRefused;
            if (!refused) {
                keep_alive = request.keep_alive;
                head_only = request.method == Method::kHead;
                response = co_await answer(request);
                log_debug("API: {} {}: {}", method_name(request.method), request.path,
                          std::to_underlying(response.status));
                served_ = true;
            }
        }
        bool sent = co_await send(wire_text(response, keep_alive, head_only));
        if (sent && response.stream && !head_only) sent = co_await send_stream(response);
        if (response.then) response.then();
        if (sent && refused) co_await linger();
        if (!sent || !keep_alive) co_return;
    }
}

asio::awaitable<Connection::Read> Connection::read(Request& request, Response& refusal) {
    bool timed = false;
    if (!served_) set_deadline(limits_.first_byte);
    for (;;) {
        const RequestParser::Step step = parser_.advance();
        if (step == RequestParser::Step::kFailed) {
            refusal = refuse(parser_.failure_status(), parser_.failure_text());
            co_return Read::kRefused;
        }
        if (step == RequestParser::Step::kComplete) {
            clear_deadline();
            request = parser_.take();
            co_return Read::kRequest;
        }
        if (step == RequestParser::Step::kContinue) {
            const bool sent = co_await send("HTTP/1.1 100 Continue\r\n\r\n");
            if (!sent) co_return Read::kEnd;
            timed = false;
        }
        if (parser_.begun() && !timed) {
            set_deadline(limits_.whole_request);
            timed = true;
        }
        const bool filled = co_await fill();
        if (filled) continue;
        if (fds_lost_) {
            refusal = refuse(Status::kInternalServerError,
                             "descriptors got lost: this process has too many files open (RLIMIT_NOFILE)");
            co_return Read::kRefused;
        }
        if (!parser_.begun() || !socket_.is_open()) co_return Read::kEnd;
        refusal = late_ ? refuse(Status::kRequestTimeout, "the request took too long to arrive")
                        : refuse(Status::kBadRequest, "the request ends too early");
        co_return Read::kRefused;
    }
}

asio::awaitable<bool> Connection::readable() {
    boost::system::error_code error;
    co_await socket_.async_wait(Socket::wait_read, asio::redirect_error(asio::use_awaitable, error));
    co_return !error && !late_;
}

asio::awaitable<bool> Connection::fill() {
    for (;;) {
        const auto room = parser_.prepare();
        Received received = receive(socket_.native_handle(), room);
        if (received.fds_lost) {
            fds_lost_ = true;
            co_return false;
        }
        if (received.error == 0) {
            parser_.commit(received.bytes, std::move(received.fds));
            co_return received.bytes > 0;
        }
        if (received.error != EAGAIN) co_return false;
        const bool ready = co_await readable();
        if (!ready) co_return false;
    }
}

asio::awaitable<bool> Connection::send(std::string text) {
    set_deadline(limits_.response);
    boost::system::error_code error;
    co_await asio::async_write(socket_, asio::buffer(text), asio::redirect_error(asio::use_awaitable, error));
    clear_deadline();
    co_return !error;
}

asio::awaitable<Response> Connection::answer(Request& request) {
    std::string what;
    try {
        co_return co_await handler_(request);
    } catch (const std::exception& error) {
        what = error.what();
    }
    log_error("API: {} {}: {}", method_name(request.method), request.path, what);
    co_return refuse(Status::kInternalServerError, what);
}

asio::awaitable<bool> Connection::send_stream(const Response& response) {
    watch_for_hangup();
    try {
        for (;;) {
            const std::string piece = co_await response.stream();
            const bool sent = co_await send(chunk_text(piece));
            if (!sent) co_return false;
            if (piece.empty()) co_return true;
        }
    } catch (const boost::system::system_error& error) {
        if (error.code() != asio::error::operation_aborted) throw;
    }
    co_return false;
}

void Connection::watch_for_hangup() {
    socket_.async_wait(Socket::wait_read, [weak = weak_from_this()](const boost::system::error_code& error) {
        const auto self = weak.lock();
        if (error || !self) return;
        pollfd state{.fd = self->socket_.native_handle(), .events = POLLIN, .revents = 0};
        if (::poll(&state, 1, 0) == 1 && (state.revents & POLLHUP) != 0) self->close();
        // Who only sends no more, or sends the next request early, still reads.
    });
}

asio::awaitable<void> Connection::linger() {
    boost::system::error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
    set_deadline(limits_.farewell);
    std::array<std::byte, 4096> waste;
    for (std::size_t total = 0; total < kMaxFarewellBytes;) {
        const Received received = receive(socket_.native_handle(), waste);
        if (received.error == 0 && received.bytes == 0) break;
        total += received.bytes;
        if (received.error == 0) continue;
        if (received.error != EAGAIN) break;
        const bool ready = co_await readable();
        if (!ready) break;
    }
    clear_deadline();
}

}  // namespace hako::api::http
