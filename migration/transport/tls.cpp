#include "migration/transport/tls.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <vector>

#include "migration/transport/socket_stream.h"
#include "vmm/base/units.h"

namespace hako::migration {
namespace {

template <auto kFree>
struct Free {
    template <typename T>
    void operator()(T* what) const {
        kFree(what);
    }
};
using Ssl = std::unique_ptr<SSL, Free<SSL_free>>;
using SslCtx = std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>>;
using BioMethod = std::unique_ptr<BIO_METHOD, Free<BIO_meth_free>>;

/// What OpenSSL has to say, the innermost first; its queue is empty then.
std::string ssl_error() {
    std::string text;
    while (const unsigned long code = ERR_get_error()) {
        std::array<char, 256> line{};
        ERR_error_string_n(code, line.data(), line.size());
        if (text.empty()) text = line.data();
    }
    return text.empty() ? "OpenSSL does not say why" : text;
}

/// What OpenSSL reads from and writes to: OpenSSL's own socket BIO would raise SIGPIPE, and counts nothing.
struct Wire {
    Fd socket;
    std::uint64_t handed = 0;
    int error = 0;  ///< of the last call, when it failed for good
};

int bio_write(BIO* bio, const char* data, int size) {
    auto& wire = *static_cast<Wire*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const ssize_t sent =
        ::send(wire.socket.get(), data, static_cast<std::size_t>(size), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
        wire.handed += static_cast<std::uint64_t>(sent);
    } else if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS) {
        BIO_set_retry_write(bio);
    } else {
        wire.error = errno;
    }
    return static_cast<int>(sent);
}

int bio_read(BIO* bio, char* data, int size) {
    auto& wire = *static_cast<Wire*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    const ssize_t received = ::recv(wire.socket.get(), data, static_cast<std::size_t>(size), MSG_DONTWAIT);
    if (received < 0) {
        if (errno == EAGAIN || errno == EINTR) {
            BIO_set_retry_read(bio);
        } else {
            wire.error = errno;
        }
    }
    return static_cast<int>(received);
}

long bio_control(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

const BIO_METHOD* bio_method() {
    static const BioMethod method = [] {
        BioMethod made(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "hako"));
        BIO_meth_set_write(made.get(), bio_write);
        BIO_meth_set_read(made.get(), bio_read);
        BIO_meth_set_ctrl(made.get(), bio_control);
        return made;
    }();
    return method.get();
}

class TlsStream final : public Stream {
  public:
    TlsStream(std::unique_ptr<Wire> wire, Ssl ssl) : wire_(std::move(wire)), ssl_(std::move(ssl)) {}

    using Stream::receive;
    using Stream::send;

    Outcome<> handshake(bool server, const Wait& wait) {
        for (;;) {
            wire_->error = 0;
            const int result = server ? SSL_accept(ssl_.get()) : SSL_connect(ssl_.get());
            if (result == 1) return {};
            HAKO_TRY_WRAP(again(result, wait), "TLS handshake");
        }
    }

    Outcome<> send(std::span<iovec> parts, const Wait& wait) override {
        for (consume(parts, 0); !parts.empty();) {
            if (wait.stop != nullptr) {
                if (auto reason = wait.stop->reason()) return std::unexpected(std::move(*reason));
            }
            std::size_t sent = 0;
            wire_->error = 0;
            const int result = SSL_write_ex(ssl_.get(), parts[0].iov_base, parts[0].iov_len, &sent);
            if (result != 1) {
                HAKO_TRY_WRAP(again(result, wait), "cannot send");
                continue;
            }
            consume(parts, sent);
        }
        return {};
    }

    Outcome<> receive(std::span<iovec> parts, const Wait& wait) override {
        for (consume(parts, 0); !parts.empty();) {
            std::size_t received = 0;
            wire_->error = 0;
            const int result = SSL_read_ex(ssl_.get(), parts[0].iov_base, parts[0].iov_len, &received);
            if (result != 1) {
                HAKO_TRY_WRAP(again(result, wait), "cannot receive");
                continue;
            }
            consume(parts, received);
        }
        return {};
    }

    [[nodiscard]] std::uint64_t handed() const override { return wire_->handed; }
    void shut_down() override { ::shutdown(wire_->socket.get(), SHUT_RDWR); }

    Outcome<> pump(int plain);

  private:
    /// One step of a pump, without waiting. False: nothing moved.
    Outcome<bool> step_out(int plain);
    Outcome<bool> step_in(int plain);

    /// Bytes on their way through a pump.
    struct Bucket {
        std::vector<std::byte> bytes = std::vector<std::byte>(256 * KiB);
        std::span<std::byte> left;
        bool ended = false;  ///< no more will come
    };
    Bucket out_;
    Bucket in_;

    /// Waits for what OpenSSL wants, or says why it cannot go on.
    Outcome<> again(int result, const Wait& wait) {
        switch (SSL_get_error(ssl_.get(), result)) {
            case SSL_ERROR_WANT_READ:
                return wait_ready(wire_->socket.get(), POLLIN, wait);
            case SSL_ERROR_WANT_WRITE:
                return wait_ready(wire_->socket.get(), POLLOUT, wait);
            case SSL_ERROR_ZERO_RETURN:
                return fail_as(Event::kLost, "the peer closed the connection");
            case SSL_ERROR_SYSCALL:
                ERR_clear_error();
                if (wire_->error != 0) return std::unexpected(socket_failure(wire_->error, "TLS"));
                return fail_as(Event::kLost, "the peer closed the connection");
            default:
                break;
        }
        if (wire_->error != 0) {
            ERR_clear_error();
            return std::unexpected(socket_failure(wire_->error, "TLS"));
        }
        const long verified = SSL_get_verify_result(ssl_.get());
        const std::string why = ssl_error();
        if (verified != X509_V_OK)
            return fail_as(Event::kRefused, "the peer's certificate: {} ({})",
                           X509_verify_cert_error_string(verified), why);
        if (why.contains("unexpected eof")) return fail_as(Event::kLost, "the peer closed the connection");
        return fail_as(Event::kRefused, "{}", why);
    }

    std::unique_ptr<Wire> wire_;
    Ssl ssl_;
};

Outcome<bool> TlsStream::step_out(int plain) {
    bool moved = false;
    if (out_.left.empty() && !out_.ended) {
        const ssize_t got = ::recv(plain, out_.bytes.data(), out_.bytes.size(), MSG_DONTWAIT);
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return std::unexpected(socket_failure(errno, "cannot receive"));
        out_.ended = got == 0;
        moved = got >= 0;
        if (got > 0) out_.left = std::span(out_.bytes).first(static_cast<std::size_t>(got));
    }
    while (!out_.left.empty()) {
        std::size_t sent = 0;
        wire_->error = 0;
        const int result = SSL_write_ex(ssl_.get(), out_.left.data(), out_.left.size(), &sent);
        if (result != 1) {
            const int why = SSL_get_error(ssl_.get(), result);
            if (why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ) return moved;
            return fail_as(Event::kLost, "cannot send: {}", ssl_error());
        }
        out_.left = out_.left.subspan(sent);
        moved = true;
    }
    return moved;
}

Outcome<bool> TlsStream::step_in(int plain) {
    bool moved = false;
    if (in_.left.empty() && !in_.ended) {
        std::size_t got = 0;
        wire_->error = 0;
        const int result = SSL_read_ex(ssl_.get(), in_.bytes.data(), in_.bytes.size(), &got);
        if (result == 1) {
            in_.left = std::span(in_.bytes).first(got);
        } else {
            const int why = SSL_get_error(ssl_.get(), result);
            if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return moved;
            in_.ended = true;  // in order or not: what came is passed on
        }
        moved = true;
    }
    while (!in_.left.empty()) {
        const ssize_t sent = ::send(plain, in_.left.data(), in_.left.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno == EAGAIN || errno == EINTR) return moved;
            return std::unexpected(socket_failure(errno, "cannot send"));
        }
        in_.left = in_.left.subspan(static_cast<std::size_t>(sent));
        moved = true;
    }
    return moved;
}

Outcome<> TlsStream::pump(int plain) {
    for (;;) {
        const bool went = HAKO_TRY(step_out(plain));
        const bool came = HAKO_TRY(step_in(plain));
        if ((out_.ended && out_.left.empty()) || (in_.ended && in_.left.empty())) {
            SSL_shutdown(ssl_.get());
            return {};
        }
        if (went || came) continue;
        const auto events = [](bool in, bool out) {
            return static_cast<short>((in ? POLLIN : 0) | (out ? POLLOUT : 0));
        };
        std::array<pollfd, 2> polled{
            {{.fd = wire_->socket.get(),
              .events = events(in_.left.empty(), !out_.left.empty()),
              .revents = 0},
             {.fd = plain, .events = events(out_.left.empty(), !in_.left.empty()), .revents = 0}}};
        if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR)
            return fail_as(Event::kLocal, "poll: {}", errno_text(errno));
    }
}

class Context final : public TlsContext {
  public:
    Context(SslCtx context, bool server, std::string host)
        : context_(std::move(context)), server_(server), host_(std::move(host)) {}

    Outcome<std::unique_ptr<Stream>> wrap(Fd socket, const Wait& wait) const override {
        const int flags = ::fcntl(socket.get(), F_GETFL);
        ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK);
        auto wire = std::make_unique<Wire>();
        wire->socket = std::move(socket);
        Ssl ssl(SSL_new(context_.get()));
        BIO* const bio = ssl ? BIO_new(bio_method()) : nullptr;
        if (bio == nullptr) return fail_as(Event::kLocal, "no memory for a TLS connection: {}", ssl_error());
        BIO_set_data(bio, wire.get());
        BIO_set_init(bio, 1);
        SSL_set_bio(ssl.get(), bio, bio);  // which now owns it
        if (!host_.empty() && !expect_host(ssl.get()))
            return fail_as(Event::kLocal, "{} is no host for a certificate: {}", host_, ssl_error());
        auto stream = std::make_unique<TlsStream>(std::move(wire), std::move(ssl));
        HAKO_TRY(stream->handshake(server_, wait));
        return std::unique_ptr<Stream>(std::move(stream));
    }

  private:
    bool expect_host(SSL* ssl) const {
        X509_VERIFY_PARAM* const parameters = SSL_get0_param(ssl);
        if (X509_VERIFY_PARAM_set1_ip_asc(parameters, host_.c_str()) == 1) return true;
        ERR_clear_error();  // a name, then
        return SSL_set1_host(ssl, host_.c_str()) == 1 && SSL_set_tlsext_host_name(ssl, host_.c_str()) == 1;
    }

    SslCtx context_;
    bool server_;
    std::string host_;
};

Result<std::unique_ptr<TlsContext>> make(const std::string& directory, bool server, std::string host) {
    const std::string who = directory + (server ? "/server" : "/client");
    const std::string ca = directory + "/ca-cert.pem";
    const std::string certificate = who + "-cert.pem";
    const std::string key = who + "-key.pem";
    SslCtx context(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
    if (!context) return fail_host("cannot set up TLS: {}", ssl_error());
    SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
    // Pages go out from guest memory, which changes under OpenSSL's hands: what it has encrypted is what
    // goes.
    SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context.get(), 0);
    if (SSL_CTX_load_verify_file(context.get(), ca.c_str()) != 1)
        return fail_input("{}: cannot be used as the CA's certificate: {}", ca, ssl_error());
    if (SSL_CTX_use_certificate_chain_file(context.get(), certificate.c_str()) != 1)
        return fail_input("{}: cannot be used as a certificate: {}", certificate, ssl_error());
    if (SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM) != 1)
        return fail_input("{}: cannot be used as the key of {}: {}", key, certificate, ssl_error());
    return std::make_unique<Context>(std::move(context), server, std::move(host));
}

}  // namespace

Outcome<> pump_tls(Stream& tls, int plain) {
    return static_cast<TlsStream&>(tls).pump(plain);
}

Result<std::unique_ptr<TlsContext>> TlsContext::server(const std::string& directory) {
    return make(directory, true, "");
}

Result<std::unique_ptr<TlsContext>> TlsContext::client(const std::string& directory, std::string host) {
    return make(directory, false, std::move(host));
}

}  // namespace hako::migration
