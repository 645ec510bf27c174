#include "devices/console/pty.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <termios.h>

#include <array>
#include <utility>

namespace hako::console {
namespace {

constexpr auto kPollReader = std::chrono::milliseconds(1000);

/// inotify instances are few per user; an empty descriptor is fine.
Fd watch_opens(const std::string& path) {
    Fd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (!fd.valid() || ::inotify_add_watch(fd.get(), path.c_str(), IN_OPEN) < 0) return {};
    return fd;
}

}  // namespace

Result<std::unique_ptr<Backend>> Pty::open(boost::asio::io_context& io) {
    Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!master.valid()) return fail_errno(errno, "cannot open a pty for the console (/dev/ptmx)");
    std::array<char, 64> name{};
    if (::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0 ||
        ::ptsname_r(master.get(), name.data(), name.size()) != 0)
        return fail_errno(errno, "cannot set up a pty for the console");
    const std::string path = name.data();
    {
        // Once opened and closed, the master says (POLLHUP) whether anybody has the other side open.
        const Fd slave(::open(path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
        termios attributes{};
        if (!slave.valid() || ::tcgetattr(slave.get(), &attributes) != 0)
            return fail_errno(errno, "cannot open the console's pty {}", path);
        ::cfmakeraw(&attributes);
        // Only for its owner: by default the group `tty` could type into the guest.
        if (::tcsetattr(slave.get(), TCSANOW, &attributes) != 0 || ::fchmod(slave.get(), 0600) != 0)
            return fail_errno(errno, "cannot set up the console's pty {}", path);
    }
    if (::fcntl(master.get(), F_SETFL, O_RDWR | O_NONBLOCK) != 0)
        return fail_errno(errno, "cannot set up the console's pty {}", path);
    return std::unique_ptr<Backend>(new Pty(io, std::move(master), path, watch_opens(path)));
}

Pty::Pty(boost::asio::io_context& io, Fd master, std::string path, Fd opens)
    : path_(std::move(path)),
      master_(std::move(master)),
      // The master is our own open file: O_NONBLOCK holds for every duplicate.
      input_(Input::create(io, {.fd = Fd(::fcntl(master_.get(), F_DUPFD_CLOEXEC, 3)), .nonblocking = true})),
      output_(Output::create(io, {.fd = Fd(::fcntl(master_.get(), F_DUPFD_CLOEXEC, 3)), .nonblocking = true},
                             Overflow::kDropOldest, fmt::format("console pty {}", path_))),
      opens_(io),
      poll_timer_(io),
      self_(std::make_shared<Pty*>(this)) {
    boost::system::error_code error;
    if (opens.valid()) opens_.assign(opens.get(), error);
    if (opens.valid() && !error) (void)opens.release();
    input_->on_end([this](int) { wait_for_reader(); });
    output_->write_only_if([this] { return has_reader(); });
}

Pty::~Pty() {
    port_ = nullptr;  // it may be gone by now
    stop();
}

bool Pty::has_reader() const {
    pollfd poll_fd{.fd = master_.get(), .events = 0, .revents = 0};
    return ::poll(&poll_fd, 1, 0) >= 0 && (poll_fd.revents & POLLHUP) == 0;
}

void Pty::start(Port& port) {
    port_ = &port;
    port.writable();
    wait_for_reader();
}

void Pty::stop() {
    if (port_ != nullptr) port_->writable();
    flush_now(std::chrono::milliseconds(1000));
    port_ = nullptr;
    input_->stop();
    boost::system::error_code ignored;
    opens_.cancel(ignored);
    poll_timer_.cancel();
}

void Pty::connect() {
    output_->drain();
    input_->start(*port_);
}

void Pty::wait_for_reader() {
    if (waiting_for_reader_) return;
    // Forget who came before; whoever comes after this is seen by has_reader() or by the wait.
    std::array<char, 4096> events;
    while (opens_.is_open() && ::read(opens_.native_handle(), events.data(), events.size()) > 0) {
    }
    if (has_reader()) return connect();

    waiting_for_reader_ = true;
    const auto look = [weak = std::weak_ptr(self_)](const boost::system::error_code&) {
        const auto self = weak.lock();
        if (!self) return;
        (*self)->waiting_for_reader_ = false;
        // Even if it was cancelled: a start() since then has found the flag set.
        if ((*self)->port_ != nullptr) (*self)->wait_for_reader();
    };
    if (opens_.is_open()) {
        opens_.async_wait(boost::asio::posix::stream_descriptor::wait_read, look);
    } else {
        poll_timer_.expires_after(kPollReader);
        poll_timer_.async_wait(look);
    }
}

}  // namespace hako::console
