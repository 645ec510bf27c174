#include "migration/transport/dialer.h"

#include <poll.h>
#include <sys/socket.h>

#include "migration/transport/socket.h"
#include "migration/transport/socket_stream.h"

namespace hako::migration {
namespace {

Outcome<Fd> connect_to(const sockaddr* address, socklen_t length, const Wait& wait) {
    Fd socket(::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.valid()) return fail_as(Event::kLocal, "cannot make a socket: {}", errno_text(errno));
    if (::connect(socket.get(), address, length) == 0) return socket;
    if (errno != EINPROGRESS) return std::unexpected(socket_failure(errno, "cannot connect"));
    HAKO_TRY_WRAP(wait_ready(socket.get(), POLLOUT, wait), "cannot connect");
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return std::unexpected(socket_failure(error, "cannot connect"));
    return socket;
}

}  // namespace

Result<std::unique_ptr<Dialer>> Dialer::create(Address address, std::unique_ptr<TlsContext> tls) {
    if (tls && std::holds_alternative<UnixAddress>(address))
        return fail_input("{}: TLS is for tcp:HOST:PORT only", address_text(address));
    std::unique_ptr<Dialer> dialer(new Dialer(std::move(address)));
    dialer->tls_ = std::move(tls);
    return dialer;
}

Outcome<std::unique_ptr<Stream>> Dialer::connect(const Wait& wait) {
    const auto* const local = std::get_if<UnixAddress>(&address_);
    Fd socket = HAKO_TRY_WRAP(local != nullptr ? connect_unix(local->path, wait)
                                               : connect_tcp(std::get<TcpAddress>(address_), wait),
                              "{}", address_text(address_));
    if (tls_) return tls_->wrap(std::move(socket), wait);
    return std::make_unique<SocketStream>(std::move(socket));
}

Outcome<Fd> Dialer::connect_unix(const std::string& path, const Wait& wait) const {
    const sockaddr_un address = unix_sockaddr(path);
    return connect_to(reinterpret_cast<const sockaddr*>(&address), sizeof address, wait);
}

Outcome<Fd> Dialer::connect_tcp(const TcpAddress& address, const Wait& wait) const {
    const AddressList list = HAKO_TRY(resolve(address, false));
    std::optional<Failure> last;
    for (const addrinfo* at = list.get(); at != nullptr; at = at->ai_next) {
        Outcome<Fd> socket = connect_to(at->ai_addr, at->ai_addrlen, wait);
        if (socket) {
            set_tcp_options(socket->get());
            return socket;
        }
        last = std::move(socket).error();
        if (last->event == Event::kCancelled) break;
    }
    if (last) return std::unexpected(std::move(*last));
    return fail_as(Event::kLocal, "host {} has no address", address.host);
}

}  // namespace hako::migration
