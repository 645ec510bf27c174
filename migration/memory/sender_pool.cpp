#include "migration/memory/sender_pool.h"

#include <poll.h>
#include <pthread.h>

#include <utility>

namespace hako::migration {

Result<std::unique_ptr<SenderPool>> SenderPool::start(const SenderSetup& setup,
                                                      std::vector<std::unique_ptr<Stream>> streams,
                                                      milliseconds silence, Stop& stop) {
    std::unique_ptr<SenderPool> pool(
        new SenderPool(setup, std::move(streams), silence, stop, HAKO_TRY(EventFd::create())));
    for (unsigned index = 0; index < pool->streams_.size(); ++index)
        pool->threads_.emplace_back(&SenderPool::run, pool.get(), index);
    return pool;
}

SenderPool::~SenderPool() {
    if (!threads_.empty()) stop_.raise({Event::kCancelled, Error(Fault::kState, "the migration is over")});
    shut_down();
    end_threads();
}

void SenderPool::end_threads() {
    {
        const std::lock_guard lock(mutex_);
        quit_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_)
        thread.join();
    threads_.clear();
}

std::vector<std::unique_ptr<Stream>> SenderPool::take_streams() {
    end_threads();
    return std::exchange(streams_, {});
}

void SenderPool::shut_down() {
    for (const auto& stream : streams_)
        stream->shut_down();
}

void SenderPool::begin(std::uint32_t round, bool last, PageBits& bits) {
    {
        const std::lock_guard lock(mutex_);
        work_ = {.number = work_.number + 1, .round = round, .last = last, .bits = &bits};
        left_ = static_cast<unsigned>(streams_.size());
        sent_ = {};
    }
    changed_.notify_all();
}

Outcome<MemoryTotals> SenderPool::finish(const Wait& wait) {
    HAKO_TRY(wait_ready(done_.fd(), POLLIN, wait));
    done_.take();
    const std::lock_guard lock(mutex_);
    return sent_;
}

void SenderPool::run(unsigned index) {
    ::pthread_setname_np(::pthread_self(), fmt::format("mig{}", index).c_str());
    PageSender sender(setup_, *streams_[index], index);
    for (std::uint64_t seen = 0;;) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return quit_ || work_.number != seen; });
        if (quit_) return;
        const Work work = work_;
        seen = work.number;
        lock.unlock();
        const auto sent =
            sender.send_round(work.round, work.last, *work.bits, {.silence = silence_, .stop = &stop_});
        if (!sent) {
            stop_.raise(sent.error());
            return;  // the round never ends; who waits for it has been told
        }
        lock.lock();
        sent_.bytes += sent->bytes;
        sent_.pages += sent->pages;
        sent_.zero_pages += sent->zero_pages;
        if (--left_ == 0) done_.signal();
    }
}

}  // namespace hako::migration
