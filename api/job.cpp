#include "api/job.h"

#include <pthread.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <utility>

namespace hako::api {

void Job::start(std::string what, std::function<void()> work, std::function<void()> cancel,
                std::function<void()> ended) {
    what_ = std::move(what);
    cancel_ = std::move(cancel);
    ended_ = std::move(ended);
    thread_ = std::thread([this, work = std::move(work)] {
        ::pthread_setname_np(::pthread_self(), "hako_job");
        work();
        boost::asio::post(control_, [this] { finish(); });
    });
}

void Job::finish() {
    thread_.join();
    cancel_ = nullptr;
    // What comes now may start another one.
    std::exchange(ended_, nullptr)();
    for (const auto& then : std::exchange(then_, {}))
        then();
}

void Job::cancel() {
    if (active()) cancel_();
}

void Job::cancel_then(std::function<void()> then) {
    if (!active()) return then();
    then_.push_back(std::move(then));
    cancel_();
}

void Job::wait() {
    cancel();
    const auto waiting = boost::asio::make_work_guard(control_);
    while (active()) {
        control_.restart();
        control_.run_one();
    }
}

}  // namespace hako::api
