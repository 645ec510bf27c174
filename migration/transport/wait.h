// Waiting for a socket: never longer than somebody said, and not at all once the migration stops.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>

#include "migration/failure.h"
#include "vmm/base/eventfd.h"

namespace hako::migration {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Ends every wait of one migration, for the first reason that is given. Any thread.
///
/// Sealing it is the commit point's other half: of a seal() and a raise() that race, exactly one succeeds.
class Stop {
  public:
    static Result<std::unique_ptr<Stop>> create();

    /// False: it was raised before, or it is sealed. Then nothing happens.
    bool raise(Failure reason);
    /// From now on nothing stops the migration. False: something has.
    bool seal();
    /// Why the waits ended, if they did.
    [[nodiscard]] std::optional<Failure> reason() const;
    /// Readable once it is raised.
    [[nodiscard]] int fd() const { return event_.fd(); }

  private:
    explicit Stop(EventFd event) : event_(std::move(event)) {}

    EventFd event_;
    mutable std::mutex mutex_;
    std::optional<Failure> reason_;
    bool sealed_ = false;
};

/// How long something may take.
struct Wait {
    milliseconds silence{10'000};                        ///< without any byte moving
    Clock::time_point until = Clock::time_point::max();  ///< all of it
    const Stop* stop = nullptr;                          ///< what else ends it

    /// All of it in this time.
    static Wait within(milliseconds time, const Stop* stop) {
        return {.silence = time, .until = Clock::now() + time, .stop = stop};
    }
};

/// Waits until `fd` has one of `events` (poll(2)), or an error that the next call on it will tell.
Outcome<> wait_ready(int fd, short events, const Wait& wait);
/// Sleeps, but for as long as nobody stops.
Outcome<> sleep_for(std::chrono::nanoseconds time, const Stop* stop);

}  // namespace hako::migration
