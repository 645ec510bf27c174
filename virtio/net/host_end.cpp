#include "virtio/net/host_end.h"

namespace hako::virtio::net {

Result<HostEnd> HostEnd::open(const Config& config) {
    HostEnd end;
    if (!config.socket.empty() || (!config.fds.empty() && Stream::is_stream(config.fds.front()))) {
        end.stream = HAKO_TRY(Stream::open(config));
        return end;
    }
    end.taps = HAKO_TRY(Tap::open(config));
    if (!config.vhost) return end;
    for (const Tap& tap : end.taps) {
        if (!tap.is_tap()) return fail_input("{} is no tap: vhost=on works with taps only", tap.name());
        end.vhosts.push_back(HAKO_TRY(Vhost::open()));
    }
    return end;
}

std::string HostEnd::name() const {
    if (stream) return stream->name();
    return taps.empty() ? std::string() : taps.front().name();
}

}  // namespace hako::virtio::net
