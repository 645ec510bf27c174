// What a client asks and what it is answered.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::api::http {

enum class Method { kGet, kHead, kPut, kPost, kPatch, kDelete, kOther };

/// "PUT"; "?" for kOther.
[[nodiscard]] std::string_view method_name(Method method);

/// Status codes of the API (RFC 9110, section 15).
enum class Status : unsigned {
    kOk = 200,
    kNoContent = 204,
    kBadRequest = 400,
    kForbidden = 403,
    kNotFound = 404,
    kMethodNotAllowed = 405,
    kRequestTimeout = 408,
    kConflict = 409,
    kLengthRequired = 411,
    kContentTooLarge = 413,
    kTooManyRequests = 429,
    kHeaderTooLarge = 431,
    kInternalServerError = 500,
    kNotImplemented = 501,
    kServiceUnavailable = 503,
    kVersionNotSupported = 505,
};

/// "Not Found".
[[nodiscard]] std::string_view reason_phrase(Status status);

/// One whole request. What the handler does not move out of it is gone (descriptors: closed) when the handler
/// is done.
struct Request {
    Method method = Method::kOther;
    std::string path;   ///< "/api/v1/vm.info"
    std::string query;  ///< what follows the question mark
    std::string body;
    std::vector<Fd> fds;     ///< came with the request (SCM_RIGHTS), in the client's order
    bool keep_alive = true;  ///< the client may send another one
};

struct Response {
    Status status = Status::kNoContent;
    std::string body;
    std::string content_type = "application/json";  ///< of the body
    std::string allow;                              ///< kMethodNotAllowed: "GET, PUT"
    /// Runs once the response is with the client's kernel, or cannot get there: what ends the process waits
    /// here for its own answer.
    std::function<void()> then;
    /// If set, the body is a stream: what each call brings goes out at once, until one brings nothing. `body`
    /// is not used. The client may leave at any time: the call is then cancelled, as Asio does it.
    std::function<boost::asio::awaitable<std::string>()> stream;
};

/// 400, 404, 409 or 500.
[[nodiscard]] Status status_of(Fault fault);
/// 200 with a JSON text.
[[nodiscard]] Response ok(std::string json);
/// A JSON array of strings, outermost cause first.
[[nodiscard]] Response failure(Status status, const std::vector<std::string>& chain);
/// The same, with the status of the fault.
[[nodiscard]] Response failure(const Error& error);

/// The response as it goes over the wire, in one piece. Headers are spelled as Cloud Hypervisor's own client
/// looks for them: literally, with one space. `head_only`: the request was HEAD.
[[nodiscard]] std::string wire_text(const Response& response, bool keep_alive, bool head_only = false);

/// A piece of a stream (RFC 9112, section 7.1); the end of it if the piece is empty.
[[nodiscard]] std::string chunk_text(std::string_view piece);

}  // namespace hako::api::http
