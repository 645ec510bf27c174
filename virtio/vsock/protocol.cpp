#include "virtio/vsock/protocol.h"

#include <algorithm>
#include <charconv>

namespace hako::virtio::vsock {
namespace {

constexpr std::string_view kConnect = "CONNECT ";
constexpr std::string_view kOk = "OK ";

}  // namespace

std::optional<std::uint32_t> parse_connect(std::string_view line) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.starts_with(kConnect)) return std::nullopt;
    line.remove_prefix(kConnect.size());
    std::uint32_t port = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), port);
    if (error != std::errc{} || end != line.data() + line.size()) return std::nullopt;
    return port;
}

ConnectAnswer::ConnectAnswer(std::uint32_t host_port) {
    char* to = std::ranges::copy(kOk, bytes.data()).out;
    to = std::to_chars(to, bytes.data() + bytes.size(), host_port).ptr;
    *to++ = '\n';
    length = static_cast<std::size_t>(to - bytes.data());
}

}  // namespace hako::virtio::vsock
