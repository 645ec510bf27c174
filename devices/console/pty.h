// The console on a pseudo terminal that people attach to and leave.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>

#include "devices/console/backend.h"
#include "devices/console/input.h"
#include "devices/console/output.h"

namespace hako::console {

/// While nobody has it open, the newest 64 KiB of output are kept for who comes next. A reader that lags
/// loses the oldest: the guest is never held up.
class Pty final : public Backend {
  public:
    static Result<std::unique_ptr<Backend>> open(boost::asio::io_context& io);
    ~Pty() override;

    bool put(std::uint8_t byte) override { return output_->put(byte); }
    void input_wanted() override { input_->wanted(); }

    void start(Port& port) override;
    void stop() override;
    void flush_now(std::chrono::milliseconds limit) override { output_->flush(limit); }
    [[nodiscard]] const std::string& path() const override { return path_; }

  private:
    Pty(boost::asio::io_context& io, Fd master, std::string path, Fd opens);

    [[nodiscard]] bool has_reader() const;
    void connect();
    void wait_for_reader();

    const std::string path_;
    Fd master_;
    std::shared_ptr<Input> input_;
    std::shared_ptr<Output> output_;
    boost::asio::posix::stream_descriptor
        opens_;                             ///< inotify: the pty was opened. Closed if there is no inotify.
    boost::asio::steady_timer poll_timer_;  ///< then this has to do
    bool waiting_for_reader_ = false;
    Port* port_ = nullptr;
    std::shared_ptr<Pty*> self_;  ///< handlers hold it weakly: they may run after the destructor
};

}  // namespace hako::console
