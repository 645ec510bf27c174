#include "api/api_thread.h"

#include <pthread.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <utility>

namespace hako::api {

Result<> ApiThread::start(SocketSpec socket, http::Handler handler) {
    server_.emplace(HAKO_TRY(http::Server::listen(io_, std::move(socket), std::move(handler))));
    thread_ = std::thread([this] { serve(); });
    return {};
}

void ApiThread::serve() {
    ::pthread_setname_np(::pthread_self(), "hako_api");
    io_.run();
    // Stopped. As long as nobody keeps this thread busy, what has happened is still told.
    constexpr int kLastHandlers = 1000;
    io_.restart();
    for (int i = 0; i < kLastHandlers && io_.poll_one() > 0; ++i) {
    }
    server_.reset();
    io_.run();
    ended_ = true;
    boost::asio::post(control_, [] {});
}

void ApiThread::stop() {
    if (!thread_.joinable()) return;
    io_.stop();
    const auto waiting = boost::asio::make_work_guard(control_);
    while (!ended_) {
        control_.restart();
        control_.run_one();
    }
    thread_.join();
}

}  // namespace hako::api
