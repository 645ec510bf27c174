// Descriptors that go with the bytes of a unix socket's message (SCM_RIGHTS, unix(7)).
#pragma once

#include <sys/socket.h>

#include <array>
#include <span>
#include <vector>

#include "vmm/base/fd.h"

namespace hako {

/// Room for the control part of a message with up to `kMost` descriptors.
template <std::size_t kMost>
struct FdControl {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMost * sizeof(int))> bytes{};

    /// For recvmsg(2): more descriptors than there is room for set MSG_CTRUNC.
    void receive_with(msghdr& message) {
        message.msg_control = bytes.data();
        message.msg_controllen = bytes.size();
    }
};

/// For sendmsg(2): `fds`, at least one and no more than `control` has room for, go with the first byte.
void attach_fds(msghdr& message, std::span<char> control, std::span<const int> fds);

/// Takes over all descriptors that recvmsg(2) stored, wanted or not.
void take_fds(msghdr& message, std::vector<Fd>& into);

}  // namespace hako
