#include "api/http/receive.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace hako::api::http {
namespace {

void take_fds(const cmsghdr& header, std::vector<Fd>& fds) {
    const std::size_t count = (header.cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const unsigned char* data = CMSG_DATA(&header);
    for (std::size_t index = 0; index < count; ++index) {
        int fd = -1;
        std::memcpy(&fd, data + index * sizeof fd, sizeof fd);
        fds.emplace_back(fd);
    }
}

}  // namespace

Received receive(int socket, std::span<std::byte> into) {
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxFdsOfMessage * sizeof(int))> control;
    iovec buffer{.iov_base = into.data(), .iov_len = into.size()};
    msghdr message{};
    message.msg_iov = &buffer;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();

    Received received;
    ssize_t count = 0;
    do {
        count = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        received.error = errno;
        return received;
    }
    received.bytes = static_cast<std::size_t>(count);
    received.fds_lost = (message.msg_flags & MSG_CTRUNC) != 0;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
            take_fds(*header, received.fds);
    }
    return received;
}

}  // namespace hako::api::http
