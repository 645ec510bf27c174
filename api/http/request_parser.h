// Bytes and descriptors in, requests out. Knows no socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "api/http/message.h"
#include "vmm/base/fd.h"

namespace hako::api::http {

struct RequestLimits {
    std::size_t head = 16 * 1024;        ///< bytes of the request line and headers
    std::size_t body = 4 * 1024 * 1024;  ///< bytes
    std::size_t fds = 253;               ///< with one request
};

/// Reads one request after the other from a stream of bytes (HTTP/1.1, RFC 9112). A body comes with its
/// length, not in chunks (411).
///
/// Usage: prepare(), receive, commit(), then advance() until it says kNeedMore. Descriptors may come with any
/// part of a request; those of a read that touches several requests belong to the last of them.
class RequestParser {
  public:
    enum class Step {
        kNeedMore,
        kContinue,  ///< the client waits for "100 Continue" before it sends the body
        kComplete,  ///< take() has a request
        kFailed,    ///< the stream can be read no further; failure_status() and failure_text() say why
    };

    explicit RequestParser(const RequestLimits& limits);
    ~RequestParser();
    RequestParser(const RequestParser&) = delete;
    RequestParser& operator=(const RequestParser&) = delete;

    /// Where to put the next bytes; at least 1.
    [[nodiscard]] std::span<std::byte> prepare();
    void commit(std::size_t bytes, std::vector<Fd> fds);
    Step advance();
    /// The request, once; the parser then waits for the next.
    [[nodiscard]] Request take();

    /// Some part of the next request has come.
    [[nodiscard]] bool begun() const;
    [[nodiscard]] Status failure_status() const;
    [[nodiscard]] const std::string& failure_text() const;

  private:
    struct Impl;  // keeps Beast out of this header
    std::unique_ptr<Impl> impl_;
};

}  // namespace hako::api::http
