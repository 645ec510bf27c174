#include "devices/console/socket.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace hako::console {
namespace {

constexpr std::chrono::milliseconds kRetry{100};
constexpr std::chrono::milliseconds kLook{500};

}  // namespace

Result<std::unique_ptr<Peer>> Socket::open(const PeerSetup& setup, const std::string& path) {
    ListenSocket listening = HAKO_TRY(ListenSocket::open(path, "console socket"));
    return std::unique_ptr<Peer>(new Socket(setup, std::move(listening), path));
}

Socket::Socket(const PeerSetup& setup, ListenSocket listening, std::string path)
    : setup_(setup),
      path_(std::move(path)),
      listening_(std::move(listening)),
      accept_(setup.work, setup.engine),
      hang_up_(setup.engine, setup.work),
      retry_(setup.engine, setup.work),
      look_(setup.engine, setup.work) {}

void Socket::Accept::complete(std::int32_t result, std::uint32_t /*flags*/) {
    active = false;
    failed = result < 0 && result != -ECANCELED && result != -ECONNABORTED && result != -EINTR;
    if (result >= 0) fd = Fd(result);
    engine.schedule(work);
}

void Socket::accept() {
    accept_.active = true;
    io_uring_prep_accept(&setup_.engine.prepare(&accept_), listening_.fd(), nullptr, nullptr,
                         SOCK_CLOEXEC | SOCK_NONBLOCK);
}

void Socket::end() {
    ending_ = true;
    hang_up_.stop();
    retry_.stop();
    look_.stop();
    if (accept_.active)
        io_uring_prep_cancel(&setup_.engine.prepare(nullptr), static_cast<io::Completion*>(&accept_), 0);
}

void Socket::run() {
    if (ending_) return;
    if (client_.valid()) take_leave();
    take_accepted();
    if (!accept_.active && !retry_.active()) {
        if (std::exchange(accept_.failed, false)) {
            retry_.start(kRetry);
        } else {
            accept();
        }
    }
}

/// The ring's polls end for a client that only sends no more (POLLRDHUP), too.
bool Socket::client_gone() {
    if (setup_.outlet.error() != 0) return true;
    if (hang_up_.active() || look_.active()) return false;
    pollfd poll_fd{.fd = client_.get(), .events = 0, .revents = 0};
    if (::poll(&poll_fd, 1, 0) != 0) return true;
    look_.start(kLook);
    return false;
}

/// Lets a client go that has gone.
void Socket::take_leave() {
    if (!hung_up_ && client_gone()) {
        hung_up_ = true;
        hang_up_.stop();
        look_.stop();
        setup_.outlet.detach();
    }
    if (!hung_up_) return;
    const bool heard_out = setup_.inlet.ended() && setup_.inlet.bytes().empty();
    if (!heard_out && !accept_.fd.valid() && !next_.valid()) return;
    setup_.inlet.detach();
    if (hang_up_.active() || look_.active() || !setup_.outlet.idle() || !setup_.inlet.idle()) return;
    client_.reset();
    hung_up_ = false;
}

void Socket::take_accepted() {
    if (accept_.fd.valid()) {
        if (next_.valid() || (client_.valid() && !hung_up_)) {
            accept_.fd.reset();
            setup_.metrics.refused.add(1);
        } else {
            next_ = std::move(accept_.fd);
        }
    }
    if (client_.valid() || !next_.valid()) return;
    client_ = std::move(next_);
    setup_.metrics.clients.add(1);
    setup_.outlet.attach(client_.get(), Target::kSocket);
    setup_.inlet.attach(client_.get());
    hang_up_.start(client_.get(), 0);
}

}  // namespace hako::console
