#include "tools/hako/bench_meter.h"

#include "vmm/base/log.h"

namespace hako::bench {
namespace {

std::optional<EventCounter> counter(::pid_t pid, const char* event) {
    auto started = EventCounter::start(pid, event);
    if (started) return std::move(*started);
    static LogLimit once(std::chrono::hours(24));
    once.warn("system calls and exits are not counted: {}", started.error().text());
    return std::nullopt;
}

}  // namespace

Figures figures_between(const Sample& begin, const Sample& end, double units, double seconds) {
    Figures figures{.rate = units / seconds, .cpu = {}, .overhead = {}, .system_calls = {}, .exits = {}};
    const auto each = [units](std::uint64_t count) { return static_cast<double>(count) / units; };
    if (begin.system_calls && end.system_calls)
        figures.system_calls = each(*end.system_calls - *begin.system_calls);
    if (begin.exits && end.exits) figures.exits = each(*end.exits - *begin.exits);
    if (end.system_calls || end.exits) return figures;
    const CpuTime cpu = end.cpu - begin.cpu;
    const auto microseconds = [units](std::chrono::microseconds time) {
        return static_cast<double>(time.count()) / units;
    };
    figures.cpu = microseconds(cpu.total);
    figures.overhead = microseconds(cpu.total - cpu.guest);
    return figures;
}

Meter Meter::start(::pid_t pid, bool counting) {
    Meter meter(pid);
    if (counting) {
        meter.system_calls_ = counter(pid, "raw_syscalls/sys_enter");
        meter.exits_ = counter(pid, "kvm/kvm_exit");
    }
    return meter;
}

Result<Sample> Meter::sample() const {
    Sample sample{.at = std::chrono::steady_clock::now(),
                  .cpu = HAKO_TRY(cpu_time(pid_)),
                  .system_calls = {},
                  .exits = {}};
    if (system_calls_) sample.system_calls = HAKO_TRY(system_calls_->count());
    if (exits_) sample.exits = HAKO_TRY(exits_->count());
    return sample;
}

}  // namespace hako::bench
