// Calls from a migration's thread to the thread that owns the VM.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <future>
#include <utility>

namespace hako::migration {

class ControlThread {
  public:
    /// Whoever waits for a migration's thread goes on running `io` meanwhile.
    explicit ControlThread(boost::asio::io_context& io) : io_(io) {}

    /// Runs `work` there and waits for it. Not from the control thread itself.
    template <typename Work>
    auto call(Work work) const {
        std::packaged_task<decltype(work())()> task(std::move(work));
        auto done = task.get_future();
        boost::asio::post(io_, [&task] { task(); });
        return done.get();
    }

  private:
    boost::asio::io_context& io_;
};

}  // namespace hako::migration
