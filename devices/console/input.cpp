#include "devices/console/input.h"

#include <poll.h>

#include <array>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <utility>

namespace hako::console {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kReadSize = 256;
/// What is typed on a terminal and not taken by the guest.
constexpr std::size_t kMaxPending = 4096;

}  // namespace

std::shared_ptr<Input> Input::create(asio::io_context& io, Stream stream) {
    std::shared_ptr<Input> input(new Input(io));
    boost::system::error_code error;
    if (stream.fd.valid()) input->descriptor_.assign(stream.fd.get(), error);
    if (stream.fd.valid() && !error) (void)stream.fd.release();
    return input;
}

void Input::watch_escape(std::function<void()> on_quit) {
    has_escape_ = true;
    on_quit_ = std::move(on_quit);
}

void Input::start(Port& port) {
    if (!descriptor_.is_open()) return;
    port_ = &port;
    feed();
}

void Input::stop() {
    port_ = nullptr;
    blocked_ = false;
    boost::system::error_code ignored;
    descriptor_.cancel(ignored);
}

void Input::wanted() {
    asio::post(io_, [weak = weak_from_this()] {
        const auto self = weak.lock();
        if (!self) return;
        self->blocked_ = false;
        if (self->port_ != nullptr) self->feed();
    });
}

void Input::wait() {
    if (waiting_ || port_ == nullptr) return;
    waiting_ = true;
    const auto on_ready = [weak = weak_from_this()](const boost::system::error_code& error) {
        const auto self = weak.lock();
        if (!self) return;
        self->waiting_ = false;
        if (self->port_ == nullptr) return;
        // Stopped, and started again since.
        if (error == asio::error::operation_aborted) return self->wait();
        // A regular file and /dev/null cannot be waited for: they are always ready.
        if (error) self->pollable_ = false;
        self->read();
    };
    if (pollable_) {
        descriptor_.async_wait(asio::posix::stream_descriptor::wait_read, on_ready);
    } else {
        asio::post(io_, [on_ready] { on_ready({}); });
    }
}

void Input::read() {
    if (may_read_ && !may_read_()) return;
    const int fd = descriptor_.native_handle();
    // Not every descriptor is non-blocking, and a wake-up may be spurious.
    if (!ready(fd, POLLIN)) return wait();
    std::array<std::uint8_t, kReadSize> buffer;
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return wait();
    if (got <= 0) {
        const int error = got < 0 ? errno : 0;
        port_ = nullptr;
        if (on_end_) on_end_(error);
        return;
    }

    const std::span<const std::uint8_t> bytes(buffer.data(), static_cast<std::size_t>(got));
    if (has_escape_) {
        if (escape_.filter(bytes, pending_)) {
            const auto quit = on_quit_;
            if (quit) quit();
        }
        if (pending_.size() > kMaxPending) pending_.resize(kMaxPending);
    } else {
        pending_.insert(pending_.end(), bytes.begin(), bytes.end());
    }
    if (port_ != nullptr) feed();
}

void Input::feed() {
    if (!pending_.empty() && !blocked_) {
        // Set before the offer: the guest may read, and wanted() come, before receive() has returned.
        blocked_ = true;
        const std::size_t taken = port_->receive(pending_);
        pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(taken));
        if (pending_.empty()) blocked_ = false;
    }
    if (pending_.empty() || has_escape_) wait();
}

}  // namespace hako::console
