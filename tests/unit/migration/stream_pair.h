// Two ends of a connection in one process.
#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <array>
#include <memory>

#include "migration/transport/socket_stream.h"

namespace hako::migration::testing {

struct StreamPair {
    StreamPair() {
        std::array<int, 2> ends{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
        near = std::make_unique<SocketStream>(Fd(ends[0]));
        far = std::make_unique<SocketStream>(Fd(ends[1]));
    }
    std::unique_ptr<SocketStream> near;
    std::unique_ptr<SocketStream> far;
};

}  // namespace hako::migration::testing
