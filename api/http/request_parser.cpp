#include "api/http/request_parser.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <deque>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>

namespace hako::api::http {
namespace {

namespace beast = boost::beast;

/// What is received at once.
constexpr std::size_t kReadBytes = 16 * 1024;

Method method_of(beast::http::verb verb) {
    switch (verb) {
        case beast::http::verb::get:
            return Method::kGet;
        case beast::http::verb::head:
            return Method::kHead;
        case beast::http::verb::put:
            return Method::kPut;
        case beast::http::verb::post:
            return Method::kPost;
        case beast::http::verb::patch:
            return Method::kPatch;
        case beast::http::verb::delete_:
            return Method::kDelete;
        default:
            return Method::kOther;
    }
}

Status status_of(const beast::error_code& error) {
    if (error == beast::http::error::header_limit) return Status::kHeaderTooLarge;
    if (error == beast::http::error::body_limit) return Status::kContentTooLarge;
    if (error == beast::http::error::bad_version) return Status::kVersionNotSupported;
    return Status::kBadRequest;
}

/// Splits a request target (RFC 9112, section 3.2) in its origin or absolute form.
void read_target(std::string_view target, Request& request) {
    constexpr std::string_view kScheme = "http://";
    if (target.starts_with(kScheme)) {
        target.remove_prefix(kScheme.size());
        target.remove_prefix(std::min(target.find_first_of("/?"), target.size()));
    }
    const std::size_t mark = target.find('?');
    request.path = target.substr(0, mark);
    if (mark != std::string_view::npos) request.query = target.substr(mark + 1);
}

}  // namespace

struct RequestParser::Impl {
    using Parser = beast::http::request_parser<beast::http::string_body>;

    /// Descriptors, and the end of the read that brought them.
    struct Delivery {
        std::uint64_t end;
        std::vector<Fd> fds;
    };

    RequestLimits limits;
    beast::flat_buffer buffer;
    std::optional<Parser> parser;
    std::uint64_t received = 0;  ///< bytes of the stream
    std::uint64_t parsed = 0;    ///< bytes of the stream
    std::uint64_t start = 0;     ///< where the request under way begins
    std::deque<Delivery> deliveries;
    bool begun = false;
    bool asked_to_continue = false;
    Status status = Status::kBadRequest;
    std::string text;

    void restart() {
        parser.emplace();
        parser->header_limit(static_cast<std::uint32_t>(limits.head));
        parser->body_limit(limits.body);
        start = parsed;
        begun = false;
        asked_to_continue = false;
    }
    Step fail(Status why, std::string words) {
        status = why;
        text = std::move(words);
        deliveries.clear();
        return Step::kFailed;
    }
    Step fail(const beast::error_code& error) {
        if (error == beast::http::error::body_limit)
            return fail(status_of(error), fmt::format("the body has more than {} bytes", limits.body));
        if (error == beast::http::error::header_limit)
            return fail(status_of(error), fmt::format("the headers have more than {} bytes", limits.head));
        return fail(status_of(error), fmt::format("not a request of HTTP/1.1: {}", error.message()));
    }
    [[nodiscard]] std::size_t pending_fds() const {
        std::size_t count = 0;
        for (const Delivery& delivery : deliveries)
            count += delivery.fds.size();
        return count;
    }
    [[nodiscard]] bool wants_continue() const {
        return parser->is_header_done() && !parser->is_done() &&
               beast::iequals(parser->get()[beast::http::field::expect], "100-continue");
    }
};

RequestParser::RequestParser(const RequestLimits& limits) : impl_(std::make_unique<Impl>()) {
    impl_->limits = limits;
    impl_->restart();
}

RequestParser::~RequestParser() = default;

std::span<std::byte> RequestParser::prepare() {
    const auto room = impl_->buffer.prepare(kReadBytes);
    return {static_cast<std::byte*>(room.data()), room.size()};
}

void RequestParser::commit(std::size_t bytes, std::vector<Fd> fds) {
    impl_->buffer.commit(bytes);
    impl_->received += bytes;
    if (!fds.empty()) impl_->deliveries.push_back({.end = impl_->received, .fds = std::move(fds)});
}

RequestParser::Step RequestParser::advance() {
    Impl& impl = *impl_;
    if (impl.pending_fds() > impl.limits.fds)
        return impl.fail(Status::kBadRequest,
                         fmt::format("a request may bring at most {} descriptors", impl.limits.fds));
    while (impl.buffer.size() > 0) {
        impl.begun = true;
        beast::error_code error;
        const std::size_t used = impl.parser->put(impl.buffer.data(), error);
        impl.buffer.consume(used);
        impl.parsed += used;
        if (error == beast::http::error::need_more) break;
        if (error) return impl.fail(error);
        // Boost 1.81's parser of chunks ends the process on some that are cut in the wrong place.
        if (impl.parser->is_header_done() && impl.parser->chunked())
            return impl.fail(Status::kLengthRequired,
                             "a body in chunks is not taken: send its Content-Length");
        if (impl.parser->is_done()) return Step::kComplete;
        if (impl.buffer.size() == 0 && !impl.asked_to_continue && impl.wants_continue()) {
            impl.asked_to_continue = true;
            return Step::kContinue;
        }
    }
    // Beast's own limit is for what it has not parsed yet.
    const std::uint64_t head =
        impl.buffer.size() + (impl.parser->is_header_done() ? 0 : impl.parsed - impl.start);
    if (head > impl.limits.head) return impl.fail(beast::http::error::header_limit);
    return Step::kNeedMore;
}

Request RequestParser::take() {
    Impl& impl = *impl_;
    Request request;
    auto message = impl.parser->release();
    request.method = method_of(message.method());
    const auto target = message.target();
    read_target({target.data(), target.size()}, request);
    request.keep_alive = message.keep_alive();
    request.body = std::move(message.body());
    while (!impl.deliveries.empty() && impl.deliveries.front().end <= impl.parsed) {
        std::ranges::move(impl.deliveries.front().fds, std::back_inserter(request.fds));
        impl.deliveries.pop_front();
    }
    impl.restart();
    return request;
}

bool RequestParser::begun() const {
    return impl_->begun || impl_->buffer.size() > 0;
}

Status RequestParser::failure_status() const {
    return impl_->status;
}

const std::string& RequestParser::failure_text() const {
    return impl_->text;
}

}  // namespace hako::api::http
