// Where a destination waits.
#pragma once

#include <string>

#include "migration/transport/address.h"
#include "migration/transport/stream.h"
#include "migration/transport/tls.h"

namespace hako::migration {

/// Listens at an address. The port and the socket's file are free again once it is closed.
class Listener final : public Acceptor {
  public:
    /// `tls`: null for none; TCP only.
    static Result<std::unique_ptr<Listener>> open(const Address& address,
                                                  std::unique_ptr<TlsContext> tls = nullptr);
    ~Listener() override { Listener::close(); }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    Outcome<std::unique_ptr<Stream>> accept(const Wait& wait) override;
    void close() override;
    /// The port that was given, for tcp:HOST:0.
    [[nodiscard]] std::uint16_t port() const;

  private:
    Listener() = default;

    std::string path_;  ///< of a unix socket, to be removed
    Fd socket_;
    std::unique_ptr<TlsContext> tls_;
};

}  // namespace hako::migration
