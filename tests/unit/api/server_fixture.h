// A server on its own thread, and raw clients that block.
#pragma once

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "api/http/server.h"
#include "vmm/base/fd.h"

namespace hako::test {

/// One connection. Everything waits for at most 20 s.
class Client {
  public:
    explicit Client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path.data(), path.size());
        const timeval limit{.tv_sec = 20, .tv_usec = 0};
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
            throw std::runtime_error("cannot connect to " + path);
    }

    /// False: the server takes no more.
    bool send(std::string_view text) {
        while (!text.empty()) {
            const ssize_t sent = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
            if (sent <= 0) return false;
            text.remove_prefix(static_cast<std::size_t>(sent));
        }
        return true;
    }
    bool send_with_fds(std::string_view text, std::span<const int> fds) {
        std::vector<std::byte> control(CMSG_SPACE(fds.size_bytes()));
        iovec buffer{.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
        msghdr message{};
        message.msg_iov = &buffer;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* const header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
        return ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
    }
    void finish_sending() { ::shutdown(fd_.get(), SHUT_WR); }

    /// Head and body, up to where Content-Length says; what came before the end if the server closed.
    std::string response() {
        while (true) {
            const std::size_t head = rest_.find("\r\n\r\n");
            if (head != std::string::npos) {
                constexpr std::string_view kLength = "\r\nContent-Length: ";
                const std::size_t at = rest_.find(kLength);
                const std::size_t body =
                    at < head ? std::stoul(rest_.substr(at + kLength.size())) : std::size_t{0};
                if (rest_.size() >= head + 4 + body) {
                    std::string whole = rest_.substr(0, head + 4 + body);
                    rest_.erase(0, whole.size());
                    return whole;
                }
            }
            if (!receive()) return std::exchange(rest_, {});
        }
    }
    /// Whether the server has closed, with nothing more to say.
    bool closed() { return rest_.empty() && !receive(); }
    std::string ask(std::string_view request) {
        send(request);
        return response();
    }

  private:
    bool receive() {
        std::array<char, 65536> bytes;
        const ssize_t got = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
        if (got <= 0) return false;
        rest_.append(bytes.data(), static_cast<std::size_t>(got));
        return true;
    }

    Fd fd_;
    std::string rest_;
};

/// Echoes: "METHOD path?query fds=N body" with 200. Some paths do more.
class ServerFixture {
  public:
    explicit ServerFixture(const api::http::ServerLimits& limits = {}) {
        std::string name = (std::filesystem::temp_directory_path() / "hako-test-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary directory");
        directory_ = name;
        server_ = std::make_unique<api::http::Server>(
            api::http::Server::listen(
                io_, path(), [this](api::http::Request& request) { return answer(request); }, limits)
                .value());
        thread_ = std::thread([this] { io_.run(); });
    }
    ~ServerFixture() {
        close();
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }
    ServerFixture(const ServerFixture&) = delete;
    ServerFixture& operator=(const ServerFixture&) = delete;

    [[nodiscard]] std::string path() const { return directory_ / "api.sock"; }
    /// Closes the server and waits until nothing of it is left to run.
    void close() {
        if (!thread_.joinable()) return;
        boost::asio::post(io_, [this] { server_.reset(); });
        thread_.join();
    }
    [[nodiscard]] std::size_t held_fds() const { return held_.size(); }

  private:
    boost::asio::awaitable<api::http::Response> answer(api::http::Request& request) {
        using namespace api::http;
        if (request.path == "/throw") throw std::runtime_error("the reason");
        if (request.path == "/none") co_return Response{};
        if (request.path == "/empty") co_return ok("");
        if (request.path == "/large") co_return ok(std::string(8 << 20, 'x'));
        if (request.path == "/wait") {  // until somebody asks for /go
            waiting_ = std::make_unique<boost::asio::steady_timer>(
                io_, boost::asio::steady_timer::time_point::max());
            boost::system::error_code ignored;
            co_await waiting_->async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
        }
        if (request.path == "/go") {
            if (!waiting_) co_return failure(Status::kConflict, {"nobody waits"});
            waiting_.reset();
        }
        if (request.path == "/count") co_return ok(std::to_string(server_->connections()));
        if (request.path == "/hold")
            for (Fd& fd : request.fds)
                held_.push_back(std::move(fd));
        Response response = ok(fmt::format("{} {}?{} fds={} {}", method_name(request.method), request.path,
                                           request.query, request.fds.size(), request.body));
        if (request.path == "/end") response.then = [this] { server_->close(); };
        co_return response;
    }

    boost::asio::io_context io_{1};
    std::filesystem::path directory_;
    std::unique_ptr<api::http::Server> server_;
    std::unique_ptr<boost::asio::steady_timer> waiting_;
    std::vector<Fd> held_;
    std::thread thread_;
};

}  // namespace hako::test
