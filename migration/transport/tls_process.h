// TLS in a process of its own: neither OpenSSL nor a private key is ever in the VMM.
#pragma once

#include <memory>
#include <string>

#include "migration/transport/tls.h"

namespace hako::migration {

/// Descriptors of the program hako-tls.
inline constexpr int kTlsSocketFd = 3;  ///< connected to the peer
inline constexpr int kTlsPlainFd =
    4;  ///< connected to the VMM: one byte, 0 or 1; after 1 why not, after 0 the stream
inline constexpr std::size_t kMaxTlsReason = 1024;

/// Starts hako-tls for each connection. It ends with the connection.
class TlsProcess final : public TlsContext {
  public:
    /// `program`: the path of hako-tls. Files that are missing are named here.
    static Result<std::unique_ptr<TlsProcess>> server(std::string program, std::string directory);
    static Result<std::unique_ptr<TlsProcess>> client(std::string program, std::string directory,
                                                      std::string host);
    /// Beside the program that runs.
    [[nodiscard]] static std::string default_program();

    Outcome<std::unique_ptr<Stream>> wrap(Fd socket, const Wait& wait) const override;

  private:
    TlsProcess(std::string program, std::string directory, bool server, std::string host)
        : program_(std::move(program)),
          directory_(std::move(directory)),
          server_(server),
          host_(std::move(host)) {}
    [[nodiscard]] Result<> check() const;

    const std::string program_;
    const std::string directory_;
    const bool server_;
    const std::string host_;
};

}  // namespace hako::migration
