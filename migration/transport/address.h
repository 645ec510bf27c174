// Where a migration goes to or comes from: unix:PATH, tcp:HOST:PORT, tcp:[IPV6]:PORT.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "vmm/base/result.h"

namespace hako::migration {

struct UnixAddress {
    std::string path;
    bool operator==(const UnixAddress&) const = default;
};
struct TcpAddress {
    std::string host;  ///< a name or a number, without brackets
    std::string port;  ///< 0 to 65535
    bool operator==(const TcpAddress&) const = default;
};

using Address = std::variant<UnixAddress, TcpAddress>;

/// A Fault::kInput names what is wrong.
Result<Address> parse_address(std::string_view url);
/// As it is written.
[[nodiscard]] std::string address_text(const Address& address);

}  // namespace hako::migration
