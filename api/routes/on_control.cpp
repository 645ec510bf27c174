#include "api/routes/on_control.h"

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <utility>

namespace hako::api {

namespace asio = boost::asio;

asio::awaitable<http::Response> on_control(asio::io_context& control, std::function<http::Response()> work) {
    // A cancellation has no effect: Asio's cancellation signals are for one thread.
    const auto start = [&control](auto handler, std::function<http::Response()> call) {
        // Keeps the io_context of the API's thread at work until the answer is there.
        auto waiting = asio::make_work_guard(asio::get_associated_executor(handler));
        asio::post(control, [handler = std::move(handler), call = std::move(call),
                             waiting = std::move(waiting)]() mutable {
            http::Response response;
            std::exception_ptr thrown;
            try {
                response = call();
            } catch (...) {
                thrown = std::current_exception();
            }
            asio::post(waiting.get_executor(), [handler = std::move(handler), thrown = std::move(thrown),
                                                response = std::move(response)]() mutable {
                std::move(handler)(thrown, std::move(response));
            });
        });
    };
    co_return co_await asio::async_initiate<decltype(asio::use_awaitable),
                                            void(std::exception_ptr, http::Response)>(
        start, asio::use_awaitable, std::move(work));
}

}  // namespace hako::api
