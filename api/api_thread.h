// The thread that serves the API. It never works on the VM itself, so it answers at once whatever the control
// thread is busy with.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <optional>
#include <thread>

#include "api/http/server.h"
#include "vmm/base/result.h"

namespace hako::api {

/// Control thread, which runs `control`; that outlives this.
class ApiThread {
  public:
    explicit ApiThread(boost::asio::io_context& control) : control_(control) {}
    ApiThread(const ApiThread&) = delete;
    ApiThread& operator=(const ApiThread&) = delete;
    ~ApiThread() { stop(); }

    /// For what is to happen on the API's thread.
    [[nodiscard]] boost::asio::io_context& io() { return io_; }
    /// Serves `socket` from now on. Once.
    Result<> start(SocketSpec socket, http::Handler handler);
    /// Gives streams their last events, lets go of all clients, and ends the thread. What they asked of the
    /// control thread before is still carried out, in here.
    void stop();

  private:
    void serve();

    boost::asio::io_context& control_;
    boost::asio::io_context io_{1};
    std::optional<http::Server> server_;
    std::thread thread_;
    std::atomic<bool> ended_{false};
};

}  // namespace hako::api
