#include "devices/console/tty.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

#include "devices/console/stdio.h"
#include "devices/console/terminal.h"

namespace hako::console {
namespace {

/// How often a background job looks whether it is in the foreground. A shell need not tell it.
constexpr auto kForegroundCheck = std::chrono::milliseconds(500);

}  // namespace

Tty::Tty(boost::asio::io_context& io, int input_fd, int output_fd, std::function<void()> on_quit)
    : input_(Input::create(io, duplicate(input_fd, O_RDONLY))),
      output_(Output::create(io, duplicate(output_fd, O_WRONLY), Overflow::kRefuse, "console")),
      signals_(io),
      foreground_timer_(io),
      self_(std::make_shared<Tty*>(this)) {
    if (::isatty(input_fd) != 1) return;
    terminal_ = Fd(::fcntl(input_fd, F_DUPFD_CLOEXEC, 3));
    input_->watch_escape(std::move(on_quit));
    input_->read_only_if([this] {
        if (in_foreground(terminal_.get())) return true;
        take_terminal();  // when it is ours again
        return false;
    });
}

Tty::~Tty() {
    // The port may be gone by now.
    port_ = nullptr;
    output_->on_room({});
    stop();
}

void Tty::start(Port& port) {
    port_ = &port;
    output_->on_room([&port] { port.writable(); });
    port.writable();
    if (!terminal_.valid()) {
        input_->start(port);
        return;
    }
    boost::system::error_code ignored;
    signals_.add(SIGTSTP, ignored);
    signals_.add(SIGCONT, ignored);
    wait_for_signal();
    take_terminal();
}

void Tty::stop() {
    if (port_ != nullptr) port_->writable();
    flush_now(std::chrono::milliseconds(1000));
    port_ = nullptr;
    input_->stop();
    output_->on_room({});
    boost::system::error_code ignored;
    signals_.clear(ignored);
    signals_.cancel(ignored);
    foreground_timer_.cancel();
    if (terminal_.valid()) restore_terminal();
}

void Tty::flush_now(std::chrono::milliseconds limit) {
    output_->flush(limit);
}

void Tty::take_terminal() {
    if (in_foreground(terminal_.get())) {
        enter_raw_mode(terminal_.get());
        input_->start(*port_);
        return;
    }
    foreground_timer_.expires_after(kForegroundCheck);
    foreground_timer_.async_wait([weak = std::weak_ptr(self_)](const boost::system::error_code& error) {
        const auto self = weak.lock();
        if (self && !error && (*self)->port_ != nullptr) (*self)->take_terminal();
    });
}

void Tty::wait_for_signal() {
    signals_.async_wait([weak = std::weak_ptr(self_)](const boost::system::error_code& error, int number) {
        const auto self = weak.lock();
        if (!self || error || (*self)->port_ == nullptr) return;
        if (number == SIGTSTP) {
            restore_terminal();
            ::raise(SIGSTOP);
        } else {
            (*self)->take_terminal();
        }
        (*self)->wait_for_signal();
    });
}

}  // namespace hako::console
