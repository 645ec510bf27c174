// What a network interface has of the host: opened before the machine, kept over its reboots.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "virtio/net/config.h"
#include "virtio/net/stream.h"
#include "virtio/net/tap.h"
#include "virtio/net/vhost.h"
#include "vmm/base/result.h"

namespace hako::virtio::net {

/// Taps, taps that the kernel's vhost-net serves, or a stream socket.
struct HostEnd {
    HostEnd() = default;
    HostEnd(std::vector<Tap> open_taps) : taps(std::move(open_taps)) {}
    HostEnd(std::unique_ptr<Stream> connection) : stream(std::move(connection)) {}

    /// Opens what `config` names. What the user can mend is a Fault::kInput that names it.
    static Result<HostEnd> open(const Config& config);

    /// For the log.
    [[nodiscard]] std::string name() const;

    std::vector<Tap> taps;           ///< one for each queue pair; none with a stream
    std::vector<Vhost> vhosts;       ///< as many as taps, or none: the io thread serves the queues
    std::unique_ptr<Stream> stream;  ///< null with taps
};

}  // namespace hako::virtio::net
