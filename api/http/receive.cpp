#include "api/http/receive.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>

#include "vmm/base/ancillary_fds.h"

namespace hako::api::http {

Received receive(int socket, std::span<std::byte> into) {
    FdControl<kMaxFdsOfMessage> control;
    iovec buffer{.iov_base = into.data(), .iov_len = into.size()};
    msghdr message{};
    message.msg_iov = &buffer;
    message.msg_iovlen = 1;
    control.receive_with(message);

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
    take_fds(message, received.fds);
    return received;
}

}  // namespace hako::api::http
