// Bytes from a unix socket, and the descriptors that come with them.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "vmm/base/fd.h"

namespace hako::api::http {

/// SCM_MAX_FD: the most that the kernel passes with one message.
inline constexpr std::size_t kMaxFdsOfMessage = 253;

/// What one recvmsg() gave.
struct Received {
    std::size_t bytes = 0;  ///< 0 without an error: the client sends no more
    int error = 0;          ///< errno; EAGAIN: nothing there yet
    /// With the last message among the bytes: the kernel ends a read behind a message with descriptors.
    std::vector<Fd> fds;
    bool fds_lost = false;  ///< some were not taken in: this process may open no more files
};

/// Never waits. The descriptors are close-on-exec.
[[nodiscard]] Received receive(int socket, std::span<std::byte> into);

}  // namespace hako::api::http
