// The time that a guest has to show that it lives.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

#include "devices/watchdog/metrics.h"
#include "vmm/io/alarm.h"
#include "vmm/state/fields.h"

namespace hako::watchdog {

using Clock = io::Clock;

/// How long the two stages take and what their ends do.
struct Course {
    std::chrono::nanoseconds first{};
    std::chrono::nanoseconds second{};
    bool interrupt = false;  ///< the end of the first is noted as an interrupt
    bool reset = true;       ///< the end of the second resets the machine; else it is only noted
    bool again = false;      ///< and the first follows
};

struct CountdownState {
    std::uint8_t stage = 0;     ///< 1 or 2; 0: it does not count
    std::uint64_t left_ns = 0;  ///< of the stage
    bool interrupt = false;     ///< noted, not yet cleared
    bool timed_out = false;     ///< the same of the end of the second stage

    bool operator==(const CountdownState&) const = default;
};

/// Two stages, one after the other. Time counts between resume() and pause() only; at first it is paused. A
/// stage begins when the end of the one before is noticed, so a process that stood still leaves its guest the
/// second one.
///
/// Safe from any thread. Those calls that say so return true if a stage now ends earlier than look() said.
class Countdown final : public io::Sleeper {
  public:
    /// No stage is shorter, whatever is asked for: a guest may not keep the io thread busy.
    static constexpr std::chrono::milliseconds kShortest{1};

    /// `expired` is called on the io thread, with the lock held, when the machine is to be reset.
    Countdown(std::function<void()> expired, Clock now, const CountdownState& state);

    /// For stages that begin from now on.
    void set_course(const Course& course);
    /// Begins with the first stage. True: see above.
    [[nodiscard]] bool start();
    void stop();
    /// The guest lives: as start(), if it counts.
    [[nodiscard]] bool reload();
    /// True: see above.
    [[nodiscard]] bool resume();
    /// When it returns nothing expires any more.
    void pause();

    void clear_interrupt();
    void clear_timed_out();
    /// As it is at this moment.
    [[nodiscard]] CountdownState state() const;
    [[nodiscard]] Metrics metrics() const;

    std::optional<io::Time> look() override;

  private:
    // With the lock held.

    bool begin(std::uint8_t stage);
    [[nodiscard]] std::uint64_t left() const;  ///< ns, of a stage that counts

    const std::function<void()> expired_;
    const Clock now_;
    mutable std::mutex mutex_;
    Course course_;
    CountdownState state_;  ///< left_ns: while it is paused
    bool paused_ = true;
    io::Time end_{};                      ///< of the stage, while it counts
    std::optional<io::Time> looked_for_;  ///< the moment that look() named
    Metrics metrics_;
};

}  // namespace hako::watchdog

namespace hako::state {

template <>
struct Fields<watchdog::CountdownState> {
    using T = watchdog::CountdownState;
    static constexpr auto list =
        std::tuple(field("stage", &T::stage), field("left_ns", &T::left_ns),
                   field("interrupt", &T::interrupt), field("timed_out", &T::timed_out));
};

}  // namespace hako::state
