// The console on the user's terminal, or whatever standard input and output are.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>

#include "devices/console/peer.h"
#include "devices/console/stdio.h"
#include "vmm/base/log.h"

namespace hako::console {

/// Input is raw if it is a terminal; the guest's bytes reach the output unchanged. A job in the background
/// leaves the terminal alone until it comes to the foreground. SIGTSTP gives the terminal back before the
/// process stops.
///
/// Signals, and who has the terminal, are the control thread's; bytes are the io thread's.
class Tty final : public Peer {
  public:
    /// `on_quit`: Ctrl-A x was typed; called on the control thread, which runs `io`.
    Tty(boost::asio::io_context& io, const PeerSetup& setup, int input_fd, int output_fd,
        std::function<void()> on_quit);
    ~Tty() override;

    void start() override;
    void stop() override;
    [[nodiscard]] const std::string& path() const override { return path_; }

    void begin() override;
    void end() override {}
    [[nodiscard]] bool idle() const override { return true; }
    void run() override;
    [[nodiscard]] bool present() const override { return true; }
    [[nodiscard]] Size size() const override { return size_; }

  private:
    void take_terminal();
    void look_at_size();
    void wait_for_signal();

    boost::asio::io_context& io_;
    PeerSetup setup_;
    const std::string path_;
    Fd terminal_;  ///< the input, if it is a terminal
    Stream input_;
    Stream output_;
    bool output_is_file_ = false;
    LogLimit error_limit_;
    bool started_ = false;
    Size size_;  ///< the io thread's
    boost::asio::signal_set signals_;
    boost::asio::steady_timer foreground_timer_;
    std::shared_ptr<Tty*> self_;  ///< handlers hold it weakly: they may run after the destructor
};

}  // namespace hako::console
