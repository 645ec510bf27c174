#include "api/routes/event_routes.h"

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <chrono>
#include <memory>
#include <optional>

#include "api/routes/handler.h"
#include "api/schema/refusal.h"

namespace hako::api {
namespace {

namespace asio = boost::asio;

constexpr std::string_view kLines = "application/x-ndjson";
/// An idle stream says so, that dead clients are found and live ones know it.
constexpr std::chrono::seconds kHeartbeat{15};

struct Wish {
    std::optional<std::uint64_t> since;
    bool follow = true;
};

Result<Wish> parse(std::string_view query) {
    Wish wish;
    while (!query.empty()) {
        const std::string_view item = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(query.size(), item.size() + 1));
        const std::size_t equals = std::min(item.find('='), item.size());
        const std::string_view value = item.substr(std::min(equals + 1, item.size()));
        if (item.substr(0, equals) == "since") {
            std::uint64_t number = 0;
            const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
            if (error != std::errc() || end != value.data() + value.size())
                return refuse({}, "since", "the number of an event", value);
            wish.since = number;
        } else if (item.substr(0, equals) == "follow") {
            if (value != "true" && value != "false") return refuse({}, "follow", "true or false", value);
            wish.follow = value == "true";
        }
    }
    return wish;
}

/// Where one client is in the log.
class Reader {
  public:
    Reader(asio::io_context& io, EventLog& events, std::uint64_t since)
        : events_(events), since_(since), timer_(std::make_shared<asio::steady_timer>(io)) {
        // Events come on any thread; the timer is the business of the one that runs `io`.
        listener_ = events_.subscribe([&io, weak = std::weak_ptr(timer_)](const Event&) {
            asio::post(io, [weak] {
                if (const auto timer = weak.lock()) timer->cancel();
            });
        });
    }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    ~Reader() { events_.unsubscribe(listener_); }

    /// What has come since the last call; empty: nothing.
    std::string take() {
        std::string text;
        while (const auto event = events_.after(since_)) {
            text += stream_text(*event);
            since_ = event->sequence;
        }
        return text;
    }
    /// The same, and waits for it. An empty line when there was nothing for a while.
    asio::awaitable<std::string> next() {
        std::string text = take();
        if (text.empty()) {
            timer_->expires_after(kHeartbeat);
            boost::system::error_code ignored;
            co_await timer_->async_wait(asio::redirect_error(asio::use_awaitable, ignored));
            text = take();
        }
        if (text.empty()) text = "\n";
        co_return text;
    }

  private:
    EventLog& events_;
    std::uint64_t since_;
    const std::shared_ptr<asio::steady_timer> timer_;
    unsigned listener_ = 0;
};

http::Response answer(asio::io_context& io, EventLog& events, const http::Request& request) {
    const auto wish = parse(request.query);
    if (!wish) return http::failure(wish.error());
    const auto reader = std::make_shared<Reader>(io, events, wish->since.value_or(events.last()));
    http::Response response = http::ok("");
    response.content_type = kLines;
    if (wish->follow)
        response.stream = [reader] { return reader->next(); };
    else
        response.body = reader->take();
    return response;
}

}  // namespace

void add_event_routes(Router& router, asio::io_context& io, EventLog& events) {
    router.get("events",
               at_once([&io, &events](http::Request& request) { return answer(io, events, request); }));
}

}  // namespace hako::api
