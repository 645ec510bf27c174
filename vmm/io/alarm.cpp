#include "vmm/io/alarm.h"

#include <algorithm>
#include <utility>

namespace hako::io {

Result<std::unique_ptr<Alarm>> Alarm::create(Engine& engine, Sleeper& sleeper, Clock now) {
    EventFd kick = HAKO_TRY(EventFd::create());
    std::unique_ptr<Alarm> alarm(new Alarm(engine, sleeper, now, std::move(kick)));
    engine.run_sync([&] { alarm->watch_.start(alarm->kick_.fd()); });
    return alarm;
}

Alarm::Alarm(Engine& engine, Sleeper& sleeper, Clock now, EventFd kick)
    : engine_(engine),
      sleeper_(sleeper),
      now_(now),
      kick_(std::move(kick)),
      watch_(engine, *this),
      timer_(engine, *this) {}

Alarm::~Alarm() {
    // Both are the kernel's until their completions, which rounds of the io thread bring.
    while (engine_.run_sync([&] {
        closing_ = true;
        watch_.stop();
        timer_.stop();
        return watch_.active() || timer_.active();
    })) {
    }
    engine_.run_sync([&] { engine_.unschedule(*this); });
}

void Alarm::run_batch() {
    if (closing_) return;
    const std::optional<Time> next = sleeper_.look();
    if (!next) return;
    if (timer_.active()) {
        // One that was called back is not over yet: this runs again then.
        if (armed_for_ > *next) timer_.stop();
        return;
    }
    armed_for_ = *next;
    timer_.start(std::max(*next - now_(), std::chrono::nanoseconds(0)));
}

}  // namespace hako::io
