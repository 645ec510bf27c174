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

Result<std::unique_ptr<Peer>> Pty::open(const PeerSetup& setup) {
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
    // The master is our own open file.
    if (::fcntl(master.get(), F_SETFL, O_RDWR | O_NONBLOCK) != 0)
        return fail_errno(errno, "cannot set up the console's pty {}", path);
    return std::unique_ptr<Peer>(new Pty(setup, std::move(master), path, watch_opens(path)));
}

Pty::Pty(const PeerSetup& setup, Fd master, std::string path, Fd opens)
    : setup_(setup),
      path_(std::move(path)),
      master_(std::move(master)),
      opens_(std::move(opens)),
      hang_up_(setup.engine, setup.work),
      opened_(setup.engine, setup.work),
      timer_(setup.engine, setup.work) {}

void Pty::end() {
    ending_ = true;
    hang_up_.stop();
    opened_.stop();
    timer_.stop();
}

bool Pty::has_reader() const {
    pollfd poll_fd{.fd = master_.get(), .events = 0, .revents = 0};
    return ::poll(&poll_fd, 1, 0) >= 0 && (poll_fd.revents & POLLHUP) == 0;
}

void Pty::run() {
    if (ending_) return;
    if (present_ && (!hang_up_.active() || setup_.outlet.error() != 0)) {
        present_ = false;
        hang_up_.stop();
        setup_.outlet.detach();
    }
    if (!present_ && idle() && setup_.outlet.idle()) look();
    // Nothing tells of a new size; who changes it types sooner or later.
    if (present_ && !setup_.inlet.bytes().empty()) size_ = size_of(master_.get());
}

void Pty::look() {
    // Forget who came before; whoever comes after this is seen by has_reader() or by the wait.
    std::array<char, 4096> events;
    while (opens_.valid() && ::read(opens_.get(), events.data(), events.size()) > 0) {
    }
    if (has_reader()) {
        present_ = true;
        size_ = size_of(master_.get());
        setup_.metrics.clients.add(1);
        setup_.outlet.attach(master_.get(), Target::kStream);
        setup_.inlet.attach(master_.get());
        hang_up_.start(master_.get(), 0);
    } else if (opens_.valid()) {
        opened_.start(opens_.get(), POLLIN);
    } else {
        timer_.start(kPollReader);
    }
}

}  // namespace hako::console
