#include "migration/memory/receiver_pool.h"

#include <poll.h>
#include <pthread.h>

#include <algorithm>
#include <utility>

namespace hako::migration {
namespace {

/// A source that goes on with more rounds before the first is acknowledged breaks the protocol.
constexpr std::size_t kMaxAhead = 2;

/// Nobody's silence: see ReceiverPool::start().
constexpr milliseconds kForEver = std::chrono::hours(24 * 365);

}  // namespace

Result<std::unique_ptr<ReceiverPool>> ReceiverPool::start(const ReceiverSetup& setup,
                                                          std::vector<std::unique_ptr<Stream>> streams,
                                                          Stop& stop) {
    std::unique_ptr<ReceiverPool> pool(
        new ReceiverPool(setup, std::move(streams), stop, HAKO_TRY(EventFd::create())));
    pool->finished_.resize(pool->streams_.size());
    for (unsigned index = 0; index < pool->streams_.size(); ++index)
        pool->threads_.emplace_back(&ReceiverPool::run, pool.get(), index);
    return pool;
}

ReceiverPool::~ReceiverPool() {
    shut_down();
    end_threads();
}

void ReceiverPool::end_threads() {
    for (std::thread& thread : threads_)
        thread.join();
    threads_.clear();
}

std::vector<std::unique_ptr<Stream>> ReceiverPool::take_streams() {
    end_threads();
    return std::exchange(streams_, {});
}

void ReceiverPool::shut_down() {
    for (const auto& stream : streams_)
        stream->shut_down();
}

Outcome<> ReceiverPool::finish(const Round& told, const Wait& wait) {
    for (;;) {
        {
            const std::lock_guard lock(mutex_);
            if (std::ranges::none_of(finished_, [](const auto& rounds) { return rounds.empty(); })) {
                Round sum{.round = told.round, .last = told.last};
                for (auto& rounds : finished_) {
                    const Round& round = rounds.front();
                    sum.pages += round.pages;
                    sum.zero_pages += round.zero_pages;
                    if (round.round != told.round || round.last != told.last) sum.round = round.round + 1;
                    rounds.erase(rounds.begin());
                }
                if (sum == told) return {};
                return fail_as(Event::kGarbage,
                               "round {}: {} pages and {} zero ones were sent, {} and {} came", told.round,
                               told.pages, told.zero_pages, sum.pages, sum.zero_pages);
            }
        }
        HAKO_TRY(wait_ready(event_.fd(), POLLIN, wait));
        event_.take();
    }
}

void ReceiverPool::run(unsigned index) {
    ::pthread_setname_np(::pthread_self(), fmt::format("mig{}", index).c_str());
    PageReceiver receiver(setup_, *streams_[index], index);
    for (std::uint32_t number = 0;; ++number) {
        const auto round = receiver.receive_round(number, {.silence = kForEver, .stop = &stop_});
        if (!round) {
            stop_.raise(round.error());
            return;
        }
        {
            const std::lock_guard lock(mutex_);
            finished_[index].push_back(*round);
            if (finished_[index].size() > kMaxAhead) {
                stop_.raise({Event::kGarbage,
                             Error(Fault::kHost, "the source does not wait for the end of a round")});
                return;
            }
        }
        event_.signal();
        if (round->last) return;
    }
}

}  // namespace hako::migration
