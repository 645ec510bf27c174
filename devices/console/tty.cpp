#include "devices/console/tty.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <utility>

#include "devices/console/terminal.h"
#include "devices/console/write_error.h"

namespace hako::console {
namespace {

/// How often a background job looks whether it is in the foreground. A shell need not tell it.
constexpr auto kForegroundCheck = std::chrono::milliseconds(500);

}  // namespace

Tty::Tty(boost::asio::io_context& io, const PeerSetup& setup, int input_fd, int output_fd,
         std::function<void()> on_quit)
    : io_(io),
      setup_(setup),
      input_(duplicate(input_fd, O_RDONLY)),
      output_(duplicate(output_fd, O_WRONLY)),
      signals_(io),
      foreground_timer_(io),
      self_(std::make_shared<Tty*>(this)) {
    struct stat info{};
    output_is_file_ = ::fstat(output_.fd.get(), &info) == 0 && S_ISREG(info.st_mode);
    if (::isatty(input_fd) != 1) return;
    terminal_ = Fd(::fcntl(input_fd, F_DUPFD_CLOEXEC, 3));
    setup_.inlet.watch_escape([this, quit = std::move(on_quit)] {
        if (quit) boost::asio::post(io_, quit);
    });
    setup_.inlet.read_only_if([this] {
        if (in_foreground(terminal_.get())) return true;
        // When it is ours again.
        boost::asio::post(io_, [weak = std::weak_ptr(self_)] {
            const auto self = weak.lock();
            if (self && (*self)->started_) (*self)->take_terminal();
        });
        return false;
    });
}

Tty::~Tty() {
    stop();
}

void Tty::begin() {
    if (terminal_.valid()) size_ = size_of(terminal_.get());
    if (output_.fd.valid())
        setup_.outlet.attach(output_.fd.get(), output_is_file_ ? Target::kFile : Target::kStream);
}

void Tty::run() {
    settle_write_error(setup_.outlet, output_is_file_, "console", error_limit_);
}

void Tty::look_at_size() {
    const Size size = size_of(terminal_.get());
    setup_.engine.run_sync([&] {
        size_ = size;
        setup_.engine.schedule(setup_.work);
    });
}

void Tty::start() {
    started_ = true;
    if (!terminal_.valid()) {
        if (input_.fd.valid()) setup_.engine.run_sync([&] { setup_.inlet.attach(input_.fd.get()); });
        return;
    }
    boost::system::error_code ignored;
    for (const int number : {SIGTSTP, SIGCONT, SIGWINCH})
        signals_.add(number, ignored);
    wait_for_signal();
    look_at_size();
    take_terminal();
}

void Tty::stop() {
    started_ = false;
    setup_.engine.run_sync([&] { setup_.inlet.detach(); });
    boost::system::error_code ignored;
    signals_.clear(ignored);
    signals_.cancel(ignored);
    foreground_timer_.cancel();
    if (terminal_.valid()) restore_terminal();
}

void Tty::take_terminal() {
    if (in_foreground(terminal_.get())) {
        enter_raw_mode(terminal_.get());
        setup_.engine.run_sync([&] { setup_.inlet.attach(input_.fd.get()); });
        return;
    }
    foreground_timer_.expires_after(kForegroundCheck);
    foreground_timer_.async_wait([weak = std::weak_ptr(self_)](const boost::system::error_code& error) {
        const auto self = weak.lock();
        if (self && !error && (*self)->started_) (*self)->take_terminal();
    });
}

void Tty::wait_for_signal() {
    signals_.async_wait([weak = std::weak_ptr(self_)](const boost::system::error_code& error, int number) {
        const auto self = weak.lock();
        if (!self || error || !(*self)->started_) return;
        if (number == SIGTSTP) {
            restore_terminal();
            ::raise(SIGSTOP);
        } else if (number == SIGCONT) {
            (*self)->take_terminal();
        } else {
            (*self)->look_at_size();
        }
        (*self)->wait_for_signal();
    });
}

}  // namespace hako::console
