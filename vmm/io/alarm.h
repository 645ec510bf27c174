// Looks at something at the moment that it names, on the io thread.
#pragma once

#include <memory>
#include <optional>

#include "vmm/base/eventfd.h"
#include "vmm/base/result.h"
#include "vmm/io/engine.h"
#include "vmm/io/event_watch.h"
#include "vmm/io/rate_limiter.h"
#include "vmm/io/timer.h"

namespace hako::io {

/// A monotonic clock.
using Clock = Time (*)();

/// What waits for moments.
class Sleeper {
  public:
    /// Called on the io thread. When to be called next, or nothing before Alarm::poke().
    virtual std::optional<Time> look() = 0;
    virtual ~Sleeper() = default;
};

/// One timeout for one sleeper. A moment that is put off costs nothing: the sleeper is called at the one that
/// it named before, and names the new one then.
class Alarm final : public BatchWork {
  public:
    /// All outlive the alarm. The sleeper is called once the alarm is poked. `now`: the clock of its moments.
    static Result<std::unique_ptr<Alarm>> create(Engine& engine, Sleeper& sleeper, Clock now);
    Alarm(const Alarm&) = delete;
    Alarm& operator=(const Alarm&) = delete;
    /// The sleeper is called no more.
    ~Alarm() override;

    /// Any thread: the sleeper is called soon. For a moment that comes earlier than the one it named.
    void poke() const { kick_.signal(); }

    void run_batch() override;

  private:
    Alarm(Engine& engine, Sleeper& sleeper, Clock now, EventFd kick);

    Engine& engine_;
    Sleeper& sleeper_;
    const Clock now_;
    const EventFd kick_;
    EventWatch watch_;
    Timer timer_;
    Time armed_for_{};  ///< while the timer is active
    bool closing_ = false;
};

}  // namespace hako::io
