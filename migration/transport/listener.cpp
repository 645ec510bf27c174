#include "migration/transport/listener.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "migration/transport/socket.h"
#include "migration/transport/socket_stream.h"

namespace hako::migration {
namespace {

constexpr int kBacklog = 80;  // all connections of a migration
constexpr milliseconds kHandshake{5'000};

Result<Fd> listen_unix(const std::string& path) {
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.valid()) return fail_errno(errno, "cannot make a socket");
    ::fchmod(socket.get(), 0600);  // which bind() gives the file
    const sockaddr_un address = unix_sockaddr(path);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return fail_input(
            "cannot listen at unix:{}: {}{}", path, errno_text(errno),
            errno == EADDRINUSE ? ": remove the file if nobody uses it, or choose another path" : "");
    if (::listen(socket.get(), kBacklog) != 0) return fail_errno(errno, "cannot listen at unix:{}", path);
    return socket;
}

Result<Fd> listen_tcp(const TcpAddress& address) {
    const AddressList list = HAKO_TRY(resolve(address, true));
    int error = EADDRNOTAVAIL;
    for (const addrinfo* at = list.get(); at != nullptr; at = at->ai_next) {
        Fd socket(::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol));
        const int one = 1;
        // A port whose last connections are in TIME_WAIT is free for the next attempt.
        ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (socket.valid() && ::bind(socket.get(), at->ai_addr, at->ai_addrlen) == 0 &&
            ::listen(socket.get(), kBacklog) == 0)
            return socket;
        error = errno;
    }
    return fail_input("cannot listen at {}: {}", address_text(address), errno_text(error));
}

}  // namespace

Result<std::unique_ptr<Listener>> Listener::open(const Address& address, std::unique_ptr<TlsContext> tls) {
    std::unique_ptr<Listener> listener(new Listener());
    if (const auto* const local = std::get_if<UnixAddress>(&address)) {
        if (tls) return fail_input("{}: TLS is for tcp:HOST:PORT only", address_text(address));
        listener->socket_ = HAKO_TRY(listen_unix(local->path));
        listener->path_ = local->path;
        return listener;
    }
    listener->tls_ = std::move(tls);
    listener->socket_ = HAKO_TRY(listen_tcp(std::get<TcpAddress>(address)));
    return listener;
}

Outcome<std::unique_ptr<Stream>> Listener::accept(const Wait& wait) {
    for (;;) {
        Fd socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!socket.valid()) {
            // Who was there and is gone (ECONNABORTED and the like) is no reason to stop.
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == EBADF || errno == EINVAL)
                return fail_as(Event::kLocal, "cannot accept a connection: {}", errno_text(errno));
            HAKO_TRY(wait_ready(socket_.get(), POLLIN, wait));
            continue;
        }
        if (path_.empty()) set_tcp_options(socket.get());
        if (tls_) {
            // Whoever connects and says nothing holds up the others no longer than this.
            const auto until = std::min(wait.until, Clock::now() + kHandshake);
            return tls_->wrap(std::move(socket), {.silence = kHandshake, .until = until, .stop = wait.stop});
        }
        return std::make_unique<SocketStream>(std::move(socket));
    }
}

void Listener::close() {
    socket_.reset();
    if (!path_.empty()) ::unlink(path_.c_str());
    path_.clear();
}

std::uint16_t Listener::port() const {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
    if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
    if (address.ss_family == AF_INET6)
        return ntohs(reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port);
    return 0;
}

}  // namespace hako::migration
