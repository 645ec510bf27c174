// Mutual TLS 1.3 between two hakos.
#pragma once

#include <memory>
#include <string>

#include "migration/transport/stream.h"

namespace hako::migration {

/// Takes connections through a handshake. Those made by server() and client() do it in this process, which
/// then has OpenSSL in it (migration-tls); TlsProcess leaves it to another.
///
/// The directory has ca-cert.pem, and server-cert.pem and server-key.pem (who receives) or client-cert.pem
/// and client-key.pem (who sends). Both sides must show a certificate of that CA; the sender also checks that
/// the receiver's is for the host it was told to go to.
class TlsContext {
  public:
    static Result<std::unique_ptr<TlsContext>> server(const std::string& directory);
    /// `host`: the name or address that the receiver's certificate must be for.
    static Result<std::unique_ptr<TlsContext>> client(const std::string& directory, std::string host);
    virtual ~TlsContext() = default;

    /// Takes a connected socket through the handshake.
    virtual Outcome<std::unique_ptr<Stream>> wrap(Fd socket, const Wait& wait) const = 0;
};

/// Carries bytes between `plain`, a connected socket, and what wrap() of a context made here gave, until
/// either ends.
Outcome<> pump_tls(Stream& tls, int plain);

}  // namespace hako::migration
