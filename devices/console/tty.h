// The console on the user's terminal, or whatever standard input and output are.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>

#include "devices/console/backend.h"
#include "devices/console/input.h"
#include "devices/console/output.h"

namespace hako::console {

/// Input is raw if it is a terminal; the guest's bytes reach the output unchanged. A job in the background
/// leaves the terminal alone until it comes to the foreground. SIGTSTP gives the terminal back before the
/// process stops.
class Tty final : public Backend {
  public:
    /// Descriptors other than 0 and 1 are for tests.
    Tty(boost::asio::io_context& io, int input_fd, int output_fd, std::function<void()> on_quit);
    ~Tty() override;

    bool put(std::uint8_t byte) override { return output_->put(byte); }
    void input_wanted() override { input_->wanted(); }

    void start(Port& port) override;
    void stop() override;
    void flush_now(std::chrono::milliseconds limit) override;
    [[nodiscard]] const std::string& path() const override { return path_; }

  private:
    void take_terminal();
    void wait_for_signal();

    const std::string path_;
    Fd terminal_;  ///< the input, if it is a terminal
    std::shared_ptr<Input> input_;
    std::shared_ptr<Output> output_;
    boost::asio::signal_set signals_;
    boost::asio::steady_timer foreground_timer_;
    Port* port_ = nullptr;
    std::shared_ptr<Tty*> self_;  ///< handlers hold it weakly: they may run after the destructor
};

}  // namespace hako::console
