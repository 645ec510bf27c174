// How a source gets its connections.
#pragma once

#include <string>

#include "migration/transport/address.h"
#include "migration/transport/stream.h"
#include "migration/transport/tls.h"

namespace hako::migration {

/// Connects to one address, as often as asked.
class Dialer final : public Connector {
  public:
    /// `tls`: null for none; TCP only.
    static Result<std::unique_ptr<Dialer>> create(Address address, std::unique_ptr<TlsContext> tls = nullptr);

    Outcome<std::unique_ptr<Stream>> connect(const Wait& wait) override;

  private:
    explicit Dialer(Address address) : address_(std::move(address)) {}
    Outcome<Fd> connect_unix(const std::string& path, const Wait& wait) const;
    Outcome<Fd> connect_tcp(const TcpAddress& address, const Wait& wait) const;

    Address address_;
    std::unique_ptr<TlsContext> tls_;
};

}  // namespace hako::migration
