#include "virtio/net/stream.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

namespace hako::virtio::net {
namespace {

/// For a user who waits for the answer.
std::unexpected<Error> explain_connect_error(int error, const std::string& path) {
    switch (error) {
        case ENOENT:
            return fail_input("there is no socket {}: start passt first (passt --socket {})", path, path);
        case ECONNREFUSED:
            return fail_input("nobody listens at {}: start passt again (passt --socket {})", path, path);
        case EAGAIN:
            return fail_input("{} is busy with another VM: give each VM a passt of its own", path);
        case EACCES:
        case EPERM:
            return fail_input("{} may not be used by this user: run passt and hako as the same user", path);
        case EPROTOTYPE:
            return fail_input("{} is a socket of another kind: give the path of passt's SOCK_STREAM socket",
                              path);
        default:
            return std::unexpected(Error(Fault::kInput, errno_text(error))
                                       .wrap(fmt::format("cannot connect to the socket {}", path)));
    }
}

/// io_uring waits in receives, sends ask not to wait: the file itself blocks.
void set_blocking(int fd, bool blocking) {
    const int flags = ::fcntl(fd, F_GETFL);
    ::fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

}  // namespace

bool Stream::is_stream(int fd) {
    int type = 0;
    socklen_t length = sizeof type;
    return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

Result<std::unique_ptr<Stream>> Stream::open(const Config& config) {
    if (!config.socket.empty()) {
        std::unique_ptr<Stream> stream(new Stream(config.socket, config.socket, Fd()));
        HAKO_TRY(stream->connect());
        return stream;
    }
    if (config.fds.size() != 1)
        return fail_input("a stream socket carries one queue pair: hand over one, not {}", config.fds.size());
    const int fd = config.fds.front();
    // Others may still name the number: hako works on a descriptor of its own.
    Fd own(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!own.valid()) return fail_input("fd {} is no open file descriptor: hand over an open socket", fd);
    return adopt(std::move(own), fmt::format("fd {}", fd));
}

Result<std::unique_ptr<Stream>> Stream::adopt(Fd socket, std::string name) {
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    if (!is_stream(socket.get()) ||
        ::getpeername(socket.get(), reinterpret_cast<sockaddr*>(&peer), &length) != 0)
        return fail_input("{} is no connected stream socket: hand over one end of a connection", name);
    set_blocking(socket.get(), true);
    return std::unique_ptr<Stream>(new Stream(std::move(name), "", std::move(socket)));
}

Result<> Stream::connect() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path_.size() >= sizeof address.sun_path)
        return fail_input("the path {} is longer than a socket's may be: give at most {} bytes", path_,
                          sizeof address.sun_path - 1);
    std::ranges::copy(path_, static_cast<char*>(address.sun_path));
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.valid()) return fail_errno(errno, "cannot create a socket");
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return explain_connect_error(errno, path_);
    set_blocking(socket.get(), true);
    socket_ = std::move(socket);
    return {};
}

void Stream::shut_down() const {
    ::shutdown(socket_.get(), SHUT_RDWR);
}

void Stream::close() {
    socket_.reset();
    received.clear();
    rest.filled(0);
}

}  // namespace hako::virtio::net
