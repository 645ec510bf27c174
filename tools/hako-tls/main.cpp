// hako-tls: one TLS connection of a migration, for a hako that has no OpenSSL in it. Started by hako only.
//
// Usage: hako-tls server|client DIRECTORY HOST, with the descriptors of migration/transport/tls_process.h.
#include <csignal>
#include <string>

#include "migration/transport/socket_stream.h"
#include "migration/transport/tls.h"
#include "migration/transport/tls_process.h"

namespace hako::migration {
namespace {

/// The VMM gives up before, and then this process ends with it.
constexpr Wait kHandshake{.silence = milliseconds(15'000)};

Outcome<std::unique_ptr<Stream>> shake_hands(const std::string& role, const std::string& directory,
                                             const std::string& host) {
    const auto context =
        HAKO_TRY(role == "server" ? TlsContext::server(directory) : TlsContext::client(directory, host));
    return context->wrap(Fd(kTlsSocketFd), kHandshake);
}

int run(const std::string& role, const std::string& directory, const std::string& host) {
    ::signal(SIGPIPE, SIG_IGN);
    SocketStream plain{Fd(kTlsPlainFd)};
    const auto tls = shake_hands(role, directory, host);
    std::string status(1, tls ? '\0' : '\1');
    if (!tls) status += tls.error().error.text().substr(0, kMaxTlsReason);
    if (!plain.send(std::as_bytes(std::span(status)), kHandshake) || !tls) return 1;
    return pump_tls(**tls, kTlsPlainFd) ? 0 : 1;
}

}  // namespace
}  // namespace hako::migration

int main(int count, char** words) {
    if (count != 4) return 2;
    return hako::migration::run(words[1], words[2], words[3]);
}
