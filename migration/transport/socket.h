// Sockets by address, and their options.
#pragma once

#include <netdb.h>
#include <sys/un.h>

#include <memory>

#include "migration/transport/address.h"
#include "vmm/base/fd.h"

namespace hako::migration {

struct FreeAddresses {
    void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, FreeAddresses>;

/// All addresses of a host (IPv4 and IPv6), to connect to or, if `passive`, to listen at.
Result<AddressList> resolve(const TcpAddress& address, bool passive);
[[nodiscard]] sockaddr_un unix_sockaddr(const std::string& path);
/// Sends at once what is to be sent, and notices a dead peer: within `kDeadPeer` of the first byte that is
/// not acknowledged, or of silence.
void set_tcp_options(int socket);

inline constexpr unsigned kDeadPeerMs = 15'000;

}  // namespace hako::migration
