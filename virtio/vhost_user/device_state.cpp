#include "virtio/vhost_user/device_state.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <utility>

namespace hako::virtio::vhost_user {
namespace {

constexpr std::size_t kPiece = 64 * KiB;

struct Pipe {
    Fd read;
    Fd write;
};

Result<Pipe> make_pipe() {
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "pipe2");
    return Pipe{.read = Fd(ends[0]), .write = Fd(ends[1])};
}

/// What may never wait: a daemon's own descriptor may be of a file that nobody serves.
Result<> set_nonblocking(const Fd& fd) {
    struct stat what{};
    if (::fstat(fd.get(), &what) != 0) return fail_errno(errno, "fstat");
    if (!S_ISFIFO(what.st_mode) && !S_ISSOCK(what.st_mode))
        return fail_host("the daemon's state is to go through what is no pipe");
    const int flags = ::fcntl(fd.get(), F_GETFL);
    if (flags < 0 || ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0) return fail_errno(errno, "fcntl");
    return {};
}

/// write() without the signal that ends a process whose pipe nobody reads.
ssize_t write_quietly(int fd, std::span<const std::uint8_t> bytes) {
    sigset_t pipe_signal;
    sigset_t before;
    ::sigemptyset(&pipe_signal);
    ::sigaddset(&pipe_signal, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    const int error = errno;
    if (put < 0 && error == EPIPE) {
        const timespec at_once{};
        ::sigtimedwait(&pipe_signal, nullptr, &at_once);
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    errno = error;
    return put;
}

}  // namespace

Result<std::vector<std::uint8_t>> save_device_state(Frontend& daemon) {
    daemon.start_clock();
    Pipe pipe = HAKO_TRY(make_pipe());
    Fd theirs = HAKO_TRY(daemon.start_state_transfer(kSave, std::move(pipe.write)));
    const Fd from = theirs.valid() ? std::move(theirs) : std::move(pipe.read);
    HAKO_TRY(set_nonblocking(from));
    std::vector<std::uint8_t> state;
    for (;;) {
        const std::size_t had = state.size();
        state.resize(had + kPiece);
        const ssize_t got = ::read(from.get(), state.data() + had, kPiece);
        state.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (got == 0) break;
        if (got < 0 && errno != EAGAIN && errno != EINTR) return fail_errno(errno, "the daemon's state");
        if (got < 0 && errno == EAGAIN) HAKO_TRY(wait_for(from.get(), POLLIN, daemon.deadline()));
        if (state.size() > kMaxDeviceState)
            return fail_host("the daemon's state is longer than {}", format_size(kMaxDeviceState));
    }
    HAKO_TRY(daemon.check_state_transfer());
    return state;
}

Result<> load_device_state(Frontend& daemon, std::span<const std::uint8_t> state) {
    daemon.start_clock();
    Pipe pipe = HAKO_TRY(make_pipe());
    Fd theirs = HAKO_TRY(daemon.start_state_transfer(kLoad, std::move(pipe.read)));
    Fd to = theirs.valid() ? std::move(theirs) : std::move(pipe.write);
    HAKO_TRY(set_nonblocking(to));
    while (!state.empty()) {
        const ssize_t put = write_quietly(to.get(), state.first(std::min(state.size(), kPiece)));
        if (put < 0 && errno != EAGAIN && errno != EINTR) return fail_errno(errno, "the daemon's state");
        if (put < 0 && errno == EAGAIN) HAKO_TRY(wait_for(to.get(), POLLOUT, daemon.deadline()));
        if (put > 0) state = state.subspan(static_cast<std::size_t>(put));
    }
    to.reset();  // that is how the daemon knows its end
    return daemon.check_state_transfer();
}

}  // namespace hako::virtio::vhost_user
