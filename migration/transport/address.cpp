#include "migration/transport/address.h"

#include <sys/un.h>

#include <charconv>
#include <cstdint>

namespace hako::migration {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr std::string_view kTcp = "tcp:";
constexpr std::size_t kMaxHost = 253;

bool is_port(std::string_view text) {
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    return error == std::errc() && end == text.data() + text.size();
}

Result<Address> parse_unix(std::string_view url) {
    const std::string_view path = url.substr(kUnix.size());
    if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path) || path.contains('\0'))
        return fail_input("{}: the path of a socket has 1 to {} characters", url,
                          sizeof(sockaddr_un::sun_path) - 1);
    return UnixAddress{.path = std::string(path)};
}

Result<Address> parse_tcp(std::string_view url) {
    std::string_view host = url.substr(kTcp.size());
    const auto colon = host.rfind(':');
    if (colon == std::string_view::npos) return fail_input("{}: give tcp:HOST:PORT", url);
    const std::string_view port = host.substr(colon + 1);
    host = host.substr(0, colon);
    if (!is_port(port)) return fail_input("{}: {} is no port: give a number from 0 to 65535", url, port);
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    } else if (host.contains(':')) {
        return fail_input("{}: an IPv6 address goes into brackets: tcp:[{}]:{}", url, host, port);
    }
    if (host.empty() || host.size() > kMaxHost || host.contains('\0'))
        return fail_input("{}: give tcp:HOST:PORT with a host", url);
    return TcpAddress{.host = std::string(host), .port = std::string(port)};
}

}  // namespace

Result<Address> parse_address(std::string_view url) {
    if (url.starts_with(kUnix)) return parse_unix(url);
    if (url.starts_with(kTcp)) return parse_tcp(url);
    return fail_input("{}: give unix:PATH or tcp:HOST:PORT", url.substr(0, kMaxHost));
}

std::string address_text(const Address& address) {
    if (const auto* const local = std::get_if<UnixAddress>(&address)) return "unix:" + local->path;
    const auto& tcp = std::get<TcpAddress>(address);
    return tcp.host.contains(':') ? fmt::format("tcp:[{}]:{}", tcp.host, tcp.port)
                                  : fmt::format("tcp:{}:{}", tcp.host, tcp.port);
}

}  // namespace hako::migration
