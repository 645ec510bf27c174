#include "virtio/net/tap.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "virtio/net/protocol.h"

namespace hako::virtio::net {
namespace {

constexpr const char* kTunDevice = "/dev/net/tun";

ifreq request_for(const std::string& name) {
    ifreq request{};
    std::memcpy(request.ifr_name, name.data(), std::min(name.size(), std::size_t{IFNAMSIZ - 1}));
    return request;
}

std::unexpected<Error> explain_device_error(int error) {
    switch (error) {
        case ENOENT:
        case ENODEV:
        case ENXIO:
            return fail_host(
                "{} is missing, so there are no taps here: modprobe tun, or give the container "
                "this device",
                kTunDevice);
        default:
            return fail_host("{} cannot be opened, {}: give hako's user the right to", kTunDevice,
                             errno_text(error));
    }
}

std::unexpected<Error> explain_attach_error(int error, const Config& config) {
    const char* const multi = config.queue_pairs > 1 ? " multi_queue" : "";
    switch (error) {
        case EPERM:
        case EACCES:
            return fail_input(
                "tap {} may not be used by this user, {}: make it for the user (ip tuntap add "
                "dev {} mode tap user $USER vnet_hdr{}), or give hako CAP_NET_ADMIN",
                config.tap, errno_text(error), config.tap, multi);
        case EBUSY:
            return fail_input("tap {} is in use by another process: give each VM a tap of its own",
                              config.tap);
        case EINVAL:
            return fail_input(
                "{} is no tap, or one made for another number of queues: make it with ip "
                "tuntap add dev {} mode tap vnet_hdr{}",
                config.tap, config.tap, multi);
        default:
            return std::unexpected(
                Error(Fault::kInput, errno_text(error)).wrap(fmt::format("cannot open tap {}", config.tap)));
    }
}

bool exists(const std::string& name) {
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request = request_for(name);
    return ::ioctl(socket.get(), SIOCGIFINDEX, &request) == 0;
}

/// A tap that hako made is of no use before it is up; those of others are left as they are.
Result<> bring_up(const std::string& name, std::uint16_t mtu) {
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request = request_for(name);
    if (mtu != 0) {
        request.ifr_mtu = mtu;
        if (::ioctl(socket.get(), SIOCSIFMTU, &request) != 0)
            return fail_errno(errno, "cannot give tap {} an MTU of {}", name, mtu);
    }
    request = request_for(name);
    if (::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0)
        return fail_errno(errno, "cannot look at tap {}", name);
    request.ifr_flags |= IFF_UP;
    if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0)
        return fail_errno(errno, "cannot bring tap {} up", name);
    return {};
}

Result<> set_nonblocking(int fd, const std::string& name) {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0) return fail_input("{} is no open file descriptor: hand over an open tap", name);
    if ((flags & O_ACCMODE) != O_RDWR) return fail_input("{} is not open for reading and writing", name);
    if (::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return fail_errno(errno, "cannot make {} non-blocking", name);
    return {};
}

bool is_packet_socket(int fd) {
    int type = 0;
    socklen_t length = sizeof type;
    return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
           (type == SOCK_SEQPACKET || type == SOCK_DGRAM);
}

}  // namespace

Result<std::vector<Tap>> Tap::open(const Config& config) {
    std::vector<Tap> taps;
    if (!config.fds.empty()) {
        for (const int fd : config.fds) {
            // Others may still name the number: hako works on a descriptor of its own.
            Fd own(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
            if (!own.valid())
                return fail_input("fd {} is no open file descriptor: hand over an open tap", fd);
            taps.push_back(HAKO_TRY(adopt(std::move(own), fmt::format("fd {}", fd))));
        }
        return taps;
    }
    const bool made = !exists(config.tap);
    taps.push_back(HAKO_TRY(open_queue(config, config.tap)));
    const std::string name = taps.front().name();  // a pattern has become a name
    while (taps.size() < config.queue_pairs)
        taps.push_back(HAKO_TRY(open_queue(config, name)));
    if (made) HAKO_TRY(bring_up(name, config.mtu));
    return taps;
}

Result<Tap> Tap::open_queue(const Config& config, const std::string& name) {
    Fd file(::open(kTunDevice, O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!file.valid()) return explain_device_error(errno);
    ifreq request = request_for(name);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (config.queue_pairs > 1) request.ifr_flags |= IFF_MULTI_QUEUE;
    if (::ioctl(file.get(), TUNSETIFF, &request) != 0) return explain_attach_error(errno, config);
    return adopt(std::move(file), name);
}

Result<Tap> Tap::adopt(Fd file, std::string name) {
    HAKO_TRY(set_nonblocking(file.get(), name));
    Tap tap;
    tap.name_ = std::move(name);
    ifreq request{};
    if (::ioctl(file.get(), TUNGETIFF, &request) == 0) {
        tap.is_tap_ = true;
        tap.name_ = std::string(request.ifr_name, ::strnlen(request.ifr_name, IFNAMSIZ));
        const int flags = request.ifr_flags;
        if ((flags & IFF_TAP) == 0 || (flags & IFF_NO_PI) == 0 || (flags & IFF_VNET_HDR) == 0)
            return fail_input(
                "{} was not opened as hako needs it: give IFF_TAP, IFF_NO_PI and IFF_VNET_HDR "
                "to TUNSETIFF",
                tap.name_);
        int header = sizeof(Header);
        if (::ioctl(file.get(), TUNSETVNETHDRSZ, &header) != 0)
            return fail_errno(errno, "cannot set the header size of tap {}", tap.name_);
    } else if (!is_packet_socket(file.get())) {
        return fail_input("{} is neither a tap nor a packet socket: hand over an open tap", tap.name_);
    }
    tap.fd_ = std::move(file);
    return tap;
}

Result<> Tap::set_offloads(std::uint64_t offloads) {
    if (!is_tap_) return {};
    // EBADFD: the tap was deleted. A guest can start without it, as it can go on without it.
    unsigned long flags = 0;
    if ((offloads & feature::kGuestCsum) != 0) flags |= TUN_F_CSUM;
    if ((offloads & feature::kGuestTso4) != 0) flags |= TUN_F_TSO4;
    if ((offloads & feature::kGuestTso6) != 0) flags |= TUN_F_TSO6;
    if (::ioctl(fd_.get(), TUNSETOFFLOAD, flags) != 0 && errno != EBADFD)
        return fail_errno(errno, "cannot set the offloads of tap {}", name_);
    return {};
}

Result<> Tap::set_attached(bool attached) {
    if (attached == attached_) return {};
    if (is_tap_) {
        ifreq request{};
        request.ifr_flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
        if (::ioctl(fd_.get(), TUNSETQUEUE, &request) != 0 && errno != EBADFD)
            return fail_errno(errno, "cannot {} a queue of tap {}", attached ? "attach" : "detach", name_);
    }
    attached_ = attached;
    return {};
}

}  // namespace hako::virtio::net
