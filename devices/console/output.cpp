#include "devices/console/output.h"

#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <utility>

namespace hako::console {
namespace {

namespace asio = boost::asio;

/// The first byte of a batch waits this long for others: a guest writes byte by byte, at some microseconds
/// each.
constexpr auto kBatchTime = std::chrono::milliseconds(1);
/// Chunks written before other work of the control thread gets its turn.
constexpr int kChunksPerTurn = 16;
/// A descriptor that may block gets no more at once than any that polls as writable can take.
constexpr std::size_t kBlockingWrite = 256;

}  // namespace

Output::Output(asio::io_context& io, Overflow overflow, std::string name)
    : io_(io),
      descriptor_(io),
      batch_timer_(io),
      overflow_(overflow),
      name_(std::move(name)),
      ring_(kOutputBuffer) {}

std::shared_ptr<Output> Output::create(asio::io_context& io, Stream stream, Overflow overflow,
                                       std::string name) {
    std::shared_ptr<Output> output(new Output(io, overflow, std::move(name)));
    output->nonblocking_ = stream.nonblocking;
    struct stat info{};
    output->regular_file_ = ::fstat(stream.fd.get(), &info) == 0 && S_ISREG(info.st_mode);
    boost::system::error_code error;
    if (stream.fd.valid()) output->descriptor_.assign(stream.fd.get(), error);
    if (!stream.fd.valid() || error) {
        output->closed_ = true;
    } else {
        (void)stream.fd.release();
    }
    return output;
}

bool Output::put(std::uint8_t byte) {
    {
        const std::lock_guard lock(mutex_);
        if (closed_) return true;
        if (ring_size_ == ring_.size()) {
            if (overflow_ == Overflow::kRefuse) {
                refused_ = true;
                return false;
            }
            ring_begin_ = (ring_begin_ + 1) % ring_.size();
            --ring_size_;
        }
        ring_[(ring_begin_ + ring_size_) % ring_.size()] = byte;
        ++ring_size_;
        if (std::exchange(scheduled_, true)) return true;
    }
    schedule();
    return true;
}

/// One wake-up of the control thread a batch.
void Output::schedule() {
    asio::post(io_, [weak = weak_from_this()] {
        const auto self = weak.lock();
        if (!self) return;
        self->batch_timer_.expires_after(kBatchTime);
        self->batch_timer_.async_wait([weak](const boost::system::error_code& error) {
            const auto again = weak.lock();
            if (again && !error) again->drain();
        });
    });
}

void Output::drain() {
    if (waiting_) return;
    if (may_write_ && !may_write_()) return;
    for (int chunk = 0; chunk < kChunksPerTurn; ++chunk) {
        switch (write_some()) {
            case Step::kWritten:
                break;
            case Step::kEmpty:
                return;
            case Step::kBlocked:
                waiting_ = true;
                descriptor_.async_wait(asio::posix::stream_descriptor::wait_write,
                                       [weak = weak_from_this()](const boost::system::error_code& error) {
                                           const auto self = weak.lock();
                                           if (!self) return;
                                           self->waiting_ = false;
                                           if (!error) self->drain();
                                       });
                return;
        }
    }
    asio::post(io_, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->drain();
    });
}

void Output::flush(std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    if (may_write_ && !may_write_()) return;
    while (true) {
        const Step step = write_some();
        if (step == Step::kEmpty) return;
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        // The guest may still be writing: the time limit holds for it, too.
        if (left.count() <= 0) return drain();
        if (step == Step::kBlocked) {
            pollfd poll_fd{.fd = descriptor_.native_handle(), .events = POLLOUT, .revents = 0};
            ::poll(&poll_fd, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 60'000)));
        }
    }
}

/// Takes the next chunk from the ring; false if there is nothing to write.
bool Output::refill() {
    if (chunk_begin_ < chunk_end_) return true;
    bool room = false;
    {
        const std::lock_guard lock(mutex_);
        chunk_begin_ = 0;
        chunk_end_ = std::min(ring_size_, chunk_.size());
        for (std::size_t i = 0; i < chunk_end_; ++i)
            chunk_[i] = ring_[(ring_begin_ + i) % ring_.size()];
        ring_begin_ = (ring_begin_ + chunk_end_) % ring_.size();
        ring_size_ -= chunk_end_;
        scheduled_ = chunk_end_ > 0;
        room = chunk_end_ > 0 && std::exchange(refused_, false);
    }
    if (room && on_room_) on_room_();
    return chunk_end_ > 0;
}

Output::Step Output::write_some() {
    if (!refill()) return Step::kEmpty;
    const int fd = descriptor_.native_handle();
    std::size_t length = chunk_end_ - chunk_begin_;
    if (!nonblocking_ && !regular_file_) {
        if (!ready(fd, POLLOUT)) return Step::kBlocked;
        length = std::min(length, kBlockingWrite);
    }
    const ssize_t written = ::write(fd, chunk_.data() + chunk_begin_, length);
    if (written >= 0) {
        chunk_begin_ += static_cast<std::size_t>(written);
        // A terminal may take nothing without calling it EAGAIN.
        return written > 0 ? Step::kWritten : Step::kBlocked;
    }
    if (errno == EAGAIN) return Step::kBlocked;
    if (errno != EINTR) give_up(errno);
    return Step::kWritten;
}

/// A full disk may have room again later: only this chunk is lost. A reader that is gone stays gone.
void Output::give_up(int error) {
    chunk_begin_ = chunk_end_ = 0;
    if (regular_file_) {
        error_limit_.warn("{}: output is lost: {}", name_, errno_text(error));
        return;
    }
    if (error != EPIPE) log_warn("{}: no more output: {}", name_, errno_text(error));
    std::function<void()> room;
    {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        ring_size_ = 0;
        if (std::exchange(refused_, false)) room = on_room_;
    }
    if (room) room();
}

}  // namespace hako::console
