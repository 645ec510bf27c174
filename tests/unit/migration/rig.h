// A source and a destination in two threads, connected by socket pairs.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "migration/destination.h"
#include "migration/source.h"
#include "migration/transport/socket_stream.h"
#include "tests/unit/migration/fake_machines.h"
#include "tests/unit/migration/faulty_stream.h"

namespace hako::migration::testing {

/// Both ends of a listening socket without one.
class SocketPairs final : public Connector, public Acceptor {
  public:
    std::shared_ptr<Trouble> source_trouble;
    std::shared_ptr<Trouble> destination_trouble;

    Outcome<std::unique_ptr<Stream>> connect(const Wait& /*wait*/) override {
        std::array<int, 2> ends{};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) std::abort();
        const std::lock_guard lock(mutex_);
        Fd theirs(ends[1]);
        if (!closed_) {
            waiting_.push_back(std::move(theirs));
            event_.signal();
        }
        return std::make_unique<FaultyStream>(std::make_unique<SocketStream>(Fd(ends[0])), source_trouble);
    }
    Outcome<std::unique_ptr<Stream>> accept(const Wait& wait) override {
        for (;;) {
            {
                const std::lock_guard lock(mutex_);
                if (!waiting_.empty()) {
                    Fd end = std::move(waiting_.front());
                    waiting_.pop_front();
                    return std::make_unique<FaultyStream>(std::make_unique<SocketStream>(std::move(end)),
                                                          destination_trouble);
                }
            }
            HAKO_TRY(wait_ready(event_.fd(), POLLIN, wait));
            event_.take();
        }
    }
    void close() override {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        waiting_.clear();
    }

  private:
    std::mutex mutex_;
    std::deque<Fd> waiting_;
    bool closed_ = false;
    EventFd event_ = EventFd::create().value();
};

/// Long: what is not broken does not time out, however slow this machine is.
inline Timeouts patient() {
    constexpr milliseconds kLong{60'000};
    return {.connect = kLong,
            .prepare = kLong,
            .silence = kLong,
            .ping = milliseconds(50),
            .ready = kLong,
            .handover = kLong,
            .running = kLong,
            .locks = kLong,
            .farewell = kLong};
}
/// Short: for a peer that says nothing. Whether a step or its deadline comes first must not matter.
inline Timeouts hasty() {
    constexpr milliseconds kShort{80};
    return {.connect = kShort,
            .prepare = kShort,
            .silence = kShort,
            .ping = milliseconds(20),
            .ready = kShort,
            .handover = kShort,
            .running = kShort,
            .locks = milliseconds(2'000),
            .farewell = kShort};
}

class Rig {
  public:
    explicit Rig(const MemoryLayout& layout = tiny_layout()) : source_machine(world, layout) {}

    World world;
    FakeSource source_machine;
    FakeDestination destination_machine{world};
    SocketPairs pairs;
    SourceConfig source_config{.convergence = {.downtime = milliseconds(60'000)}, .timeouts = patient()};
    DestinationConfig destination_config{.timeouts = patient()};
    Source::Observer source_observer;
    Destination::Observer destination_observer;
    std::unique_ptr<Source> source;
    std::unique_ptr<Destination> destination;

    void build() {
        source = Source::create(source_config, pairs, source_machine, source_observer).value();
        destination =
            Destination::create(destination_config, pairs, destination_machine, destination_observer).value();
    }

    /// Runs both to their ends.
    void migrate() {
        if (!source) build();
        std::thread arrives([this] { destination_status = destination->run(); });
        source_status = source->run();
        // A destination that nobody came to would wait for ever; one that was told GO does not hear this.
        if (source_status != Status::kFinished && source_status != Status::kUnconfirmed)
            destination->cancel();
        arrives.join();
    }

    Status source_status = Status::kOngoing;
    Status destination_status = Status::kOngoing;
};

}  // namespace hako::migration::testing
