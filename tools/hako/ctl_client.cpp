#include "tools/hako/ctl_client.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <vector>

namespace hako {
namespace {

/// Of one line of the answer's head, and of a body that is no stream.
constexpr std::size_t kMaxLine = 16 * 1024;
constexpr std::size_t kMaxBody = 64 * 1024 * 1024;

Result<std::size_t> parse_length(std::string_view text, int base) {
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size() || value > kMaxBody)
        return fail_host("the answer cannot be read: \"{}\" is no length", text);
    return value;
}

}  // namespace

Result<CtlClient> CtlClient::connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return fail_input("{}: the path of a socket has at most {} characters", path,
                          sizeof address.sun_path - 1);
    std::memcpy(address.sun_path, path.data(), path.size());
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.valid()) return fail_errno(errno, "cannot make a socket");
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return fail_host("{}: {}: is hako serve or hako run --api-socket running there?", path,
                         errno_text(errno));
    return CtlClient(std::move(socket));
}

Result<> CtlClient::send(const cli::CtlRequest& request) {
    const std::string text = fmt::format(
        "{} {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: {}\r\n\r\n{}",
        request.method, request.target, request.body.size(), request.body);
    std::size_t sent = 0;
    while (sent < text.size()) {
        iovec piece{.iov_base = const_cast<char*>(text.data()) + sent, .iov_len = text.size() - sent};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        std::vector<std::byte> control;
        if (sent == 0 && !request.fds.empty()) {
            const std::size_t bytes = request.fds.size() * sizeof(int);
            control.resize(CMSG_SPACE(bytes));
            message.msg_control = control.data();
            message.msg_controllen = control.size();
            cmsghdr* const header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(bytes);
            std::memcpy(CMSG_DATA(header), request.fds.data(), bytes);
        }
        const ssize_t count = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EBADF)
            return fail_input("fd=: a descriptor is not open: hand it over open");
        if (count < 0 && errno == EPIPE) return {};  // the answer tells why
        if (count < 0) return fail_errno(errno, "the request cannot be sent");
        sent += static_cast<std::size_t>(count);
    }
    return {};
}

Result<> CtlClient::receive() {
    std::array<char, 65536> bytes;
    for (;;) {
        const ssize_t got = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno(errno, "the answer cannot be read");
        if (got == 0) return fail_host("the VMM ended before it had answered");
        input_.append(bytes.data(), static_cast<std::size_t>(got));
        return {};
    }
}

Result<std::string> CtlClient::read_line() {
    std::size_t end = 0;
    while ((end = input_.find("\r\n")) == std::string::npos) {
        if (input_.size() > kMaxLine) return fail_host("the answer cannot be read: a line without an end");
        HAKO_TRY(receive());
    }
    std::string line = input_.substr(0, end);
    input_.erase(0, end + 2);
    return line;
}

Result<std::string> CtlClient::read_bytes(std::size_t count) {
    while (input_.size() < count)
        HAKO_TRY(receive());
    std::string bytes = input_.substr(0, count);
    input_.erase(0, count);
    return bytes;
}

Result<CtlClient::Reply> CtlClient::call(const cli::CtlRequest& request,
                                         const std::function<bool(std::string_view)>& on_piece) {
    HAKO_TRY(send(request));
    Reply reply;
    const std::string first = HAKO_TRY(read_line());
    constexpr std::string_view kVersion = "HTTP/1.1 ";
    if (!first.starts_with(kVersion) || first.size() < kVersion.size() + 3)
        return fail_host("the answer is not HTTP: is this the socket of a VMM?");
    reply.status =
        static_cast<unsigned>(HAKO_TRY(parse_length(std::string_view(first).substr(kVersion.size(), 3), 10)));
    if (first.size() > kVersion.size() + 4) reply.reason = first.substr(kVersion.size() + 4);
    std::size_t length = 0;
    bool chunked = false;
    for (;;) {
        const std::string line = HAKO_TRY(read_line());
        if (line.empty()) break;
        constexpr std::string_view kLength = "Content-Length: ";
        if (line.starts_with(kLength))
            length = HAKO_TRY(parse_length(std::string_view(line).substr(kLength.size()), 10));
        if (line == "Transfer-Encoding: chunked") chunked = true;
    }
    if (!chunked) {
        reply.body = HAKO_TRY(read_bytes(length));
        return reply;
    }
    for (;;) {
        const std::string size = HAKO_TRY(read_line());
        const std::size_t bytes = HAKO_TRY(parse_length(size, 16));
        const std::string piece = HAKO_TRY(read_bytes(bytes));
        HAKO_TRY(read_line());
        if (piece.empty() || !on_piece(piece)) return reply;
    }
}

}  // namespace hako
