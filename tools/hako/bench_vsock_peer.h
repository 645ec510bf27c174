// The host's end of a guest's vsock.
#pragma once

#include <chrono>
#include <string>

#include "tools/hako/bench_vsock_jobs.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::bench {

/// Listens for connections from a guest to the port kVsockPort of its host.
class VsockPeer {
  public:
    /// `socket`: that of hako's device, which puts the port behind it. "": AF_VSOCK, as vhost-vsock does.
    static Result<VsockPeer> listen(const std::string& socket);

    /// Waits for a connection.
    Result<> accept(std::chrono::seconds limit);
    /// Does the host's part for so long; bytes that have passed, or for kEcho messages that came back.
    Result<std::uint64_t> work(const VsockJob& job, std::chrono::milliseconds time);
    /// Ends the connection.
    void close();

  private:
    explicit VsockPeer(Fd listener) : listener_(std::move(listener)) {}

    Fd listener_;
    Fd connection_;
};

}  // namespace hako::bench
