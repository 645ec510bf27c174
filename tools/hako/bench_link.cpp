#include "tools/hako/bench_link.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <linux/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tools/hako/doctor_file.h"
#include "vmm/base/fd.h"

namespace hako::bench {
namespace {

ifreq request_for(const std::string& name) {
    ifreq request{};
    std::memcpy(request.ifr_name, name.data(), std::min(name.size(), std::size_t{IFNAMSIZ - 1}));
    return request;
}

Result<> set(const Fd& socket, const std::string& interface, unsigned long what, const char* address) {
    ifreq request = request_for(interface);
    sockaddr_in value{};
    value.sin_family = AF_INET;
    if (::inet_pton(AF_INET, address, &value.sin_addr) != 1) return fail_host("{} is no address", address);
    std::memcpy(&request.ifr_addr, &value, sizeof value);
    if (::ioctl(socket.get(), what, &request) != 0)
        return fail_errno(errno, "cannot give {} the address {}", interface, address);
    return {};
}

}  // namespace

Result<> set_address(const std::string& interface, const std::string& address) {
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket.valid()) return fail_errno(errno, "cannot open a socket");
    HAKO_TRY(set(socket, interface, SIOCSIFADDR, address.c_str()));
    HAKO_TRY(set(socket, interface, SIOCSIFNETMASK, "255.255.255.252"));
    ifreq request = request_for(interface);
    if (::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0)
        return fail_errno(errno, "cannot look at {}", interface);
    request.ifr_flags |= IFF_UP;
    if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0)
        return fail_errno(errno, "cannot switch {} on", interface);
    return {};
}

Result<std::uint64_t> passed(const std::string& interface, Direction direction, Quantity quantity) {
    // The host receives what a guest sends.
    const auto path = fmt::format("/sys/class/net/{}/statistics/{}_{}", interface,
                                  direction == Direction::kFromGuest ? "rx" : "tx",
                                  quantity == Quantity::kBytes ? "bytes" : "packets");
    const auto count = doctor::read_number(path);
    if (!count || *count < 0) return fail_host("cannot read {}", path);
    return static_cast<std::uint64_t>(*count);
}

}  // namespace hako::bench
