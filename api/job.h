// Work on the VM that takes long: it has a thread of its own, and the control thread goes on.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace hako::api {

/// Control thread. One at a time: who else wants something of the VM is told what goes on.
class Job {
  public:
    explicit Job(boost::asio::io_context& control) : control_(control) {}
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;
    /// There is none, or wait() has been called.
    ~Job() = default;

    [[nodiscard]] bool active() const { return thread_.joinable(); }
    /// "a snapshot is taken"
    [[nodiscard]] const std::string& what() const { return what_; }

    /// There is none. `work` runs on the thread and may call the control thread; `ended` runs on the control
    /// thread when it is over. `cancel` asks `work` to return soon.
    void start(std::string what, std::function<void()> work, std::function<void()> cancel,
               std::function<void()> ended);
    void cancel();
    /// Calls `then` when there is no job, at once or after cancelling the one there is.
    void cancel_then(std::function<void()> then);
    /// Cancels it and runs the control thread's io_context until it has ended. Not from a handler.
    void wait();

  private:
    void finish();

    boost::asio::io_context& control_;
    std::string what_;
    std::function<void()> cancel_;
    std::function<void()> ended_;
    std::vector<std::function<void()>> then_;
    std::thread thread_;
};

}  // namespace hako::api
