#include "api/routes/on_control.h"

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <memory>
#include <utility>

namespace hako::api {
namespace {

namespace asio = boost::asio;

/// Who waits for the answer, on the API's thread.
template <typename Handler>
class Waiter {
  public:
    explicit Waiter(Handler handler)
        : handler_(std::move(handler)),
          work_(asio::make_work_guard(asio::get_associated_executor(handler_))) {}

    /// From the control thread.
    void answer(std::exception_ptr thrown, http::Response response) {
        asio::post(work_.get_executor(), [handler = std::move(handler_), thrown = std::move(thrown),
                                          response = std::move(response)]() mutable {
            std::move(handler)(std::move(thrown), std::move(response));
        });
        work_.reset();
    }

  private:
    Handler handler_;
    /// Keeps the io_context of the API's thread at work until the answer is there.
    decltype(asio::make_work_guard(asio::get_associated_executor(std::declval<Handler&>()))) work_;
};

}  // namespace

asio::awaitable<http::Response> on_control(asio::io_context& control, std::function<void(Done)> start) {
    // A cancellation has no effect: Asio's cancellation signals are for one thread.
    const auto begin = [&control](auto handler, std::function<void(Done)> call) {
        // Shared, since a std::function can be copied and the handler cannot.
        auto waiter = std::make_shared<Waiter<decltype(handler)>>(std::move(handler));
        asio::post(control, [waiter, call = std::move(call)] {
            try {
                call([waiter](http::Response response) { waiter->answer(nullptr, std::move(response)); });
            } catch (...) {
                waiter->answer(std::current_exception(), {});
            }
        });
    };
    co_return co_await asio::async_initiate<decltype(asio::use_awaitable),
                                            void(std::exception_ptr, http::Response)>(
        begin, asio::use_awaitable, std::move(start));
}

asio::awaitable<http::Response> on_control(asio::io_context& control, std::function<http::Response()> work) {
    return on_control(
        control, std::function<void(Done)>([work = std::move(work)](const Done& done) { done(work()); }));
}

}  // namespace hako::api
