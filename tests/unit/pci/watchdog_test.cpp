#include <doctest/doctest.h>

#include <thread>

#include "devices/watchdog/device.h"
#include "tests/unit/devices/recorded_events.h"
#include "tests/unit/pci/rig.h"

using namespace hako;
using namespace hako::test;
using namespace hako::watchdog;
using namespace std::chrono_literals;

namespace {

/// It stands still.
io::Time no_time() {
    return io::Time{};
}

/// A watchdog in slot 1, and what its driver does.
struct Rig : PciRig {
    explicit Rig(std::optional<watchdog::State> restored = std::nullopt, Clock now = no_time,
                 const watchdog::Config& config = {}) {
        auto made = watchdog::Device::create(config, {.space = space, .engine = *engine, .events = events},
                                             std::move(restored), now);
        REQUIRE_MESSAGE(made, made.error().text());
        device = std::move(*made);
        REQUIRE(bridge->add(*device));
        device->resume();
        driver.set_command(pci::command::kMemory);
    }
    ~Rig() { CHECK(bridge->remove({.bus = 0, .device = 1, .function = 0})); }

    void write(std::uint64_t offset, std::size_t length, std::uint64_t value) {
        bus_write(mmio, driver.bar(kBar) + offset, length, value);
    }
    std::uint64_t read(std::uint64_t offset, std::size_t length) {
        return bus_read(mmio, driver.bar(kBar) + offset, length);
    }
    void unlock() {
        write(kReload, 2, kUnlock1);
        write(kReload, 2, kUnlock2);
    }
    void set_timers(std::uint32_t first, std::uint32_t second) {
        unlock();
        write(kTimer1, 4, first);
        unlock();
        write(kTimer2, 4, second);
    }
    void reload() {
        unlock();
        write(kReload, 2, kReloadBit);
    }
    void set_lock(std::uint8_t bits) { driver.set_config(kLockRegister, 1, bits); }
    [[nodiscard]] CountdownState countdown() const { return device->state().countdown; }

    RecordedEvents events;
    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    std::unique_ptr<watchdog::Device> device;
    PciDriver driver{mmio, {.bus = 0, .device = 1, .function = 0}};
};

constexpr std::uint64_t ns(std::chrono::nanoseconds time) {
    return static_cast<std::uint64_t>(time.count());
}

}  // namespace

TEST_CASE("a driver finds the watchdog of Intel's 6300ESB, at rest") {
    Rig rig;
    CHECK(rig.driver.config(pci::reg::kVendorId, 4) == 0x25ab8086);
    CHECK((rig.driver.config(pci::reg::kRevision, 4) >> 8) == 0x088000);
    CHECK((rig.driver.config(pci::reg::kBar0, 4) & 0xf) == 0);  // memory, 32 bits
    CHECK(rig.driver.config(pci::reg::kInterruptPin, 1) == 0);
    CHECK(rig.driver.config(kConfigRegister, 2) == 0);
    CHECK(rig.driver.config(kLockRegister, 1) == 0);
    CHECK(rig.read(kTimer1, 4) == 0xfffff);
    CHECK(rig.read(kTimer2, 4) == 0xfffff);
    CHECK(rig.read(kInterruptStatus, 4) == 0);
    CHECK(rig.read(kReload, 2) == 0);
    CHECK(rig.device->name() == "__watchdog");
    rig.reload();
    CHECK(rig.countdown() == CountdownState{});
}

TEST_CASE("registers are written after both unlock words only") {
    Rig rig;
    rig.write(kTimer1, 4, 5);
    rig.write(kReload, 2, kUnlock2);
    rig.write(kTimer1, 4, 5);
    rig.write(kReload, 2, kUnlock1);
    rig.write(kTimer1, 4, 5);
    rig.write(kReload, 2, kUnlock1);
    rig.write(kReload, 2, 0);
    rig.write(kReload, 2, kUnlock2);
    rig.write(kTimer1, 4, 5);
    CHECK(rig.read(kTimer1, 4) == 0xfffff);
    rig.write(kReload, 2, kUnlock1);
    rig.unlock();
    rig.write(kTimer1, 4, 0xfff12345);
    CHECK(rig.read(kTimer1, 4) == 0x12345);
    rig.write(kTimer1, 4, 6);  // once for each sequence
    CHECK(rig.read(kTimer1, 4) == 0x12345);
    CHECK(rig.read(kTimer2, 4) == 0xfffff);
}

TEST_CASE(
    "it counts from its enabling on, in ticks of 983 or of one microseconds, and until it is disabled") {
    Rig rig;
    rig.set_timers(1000, 2000);
    rig.set_lock(kEnabled);
    CHECK(rig.countdown() == CountdownState{.stage = 1, .left_ns = ns(1000 * 983040ns)});
    rig.driver.set_config(kConfigRegister, 2, kFast | kInterruptType);
    CHECK(rig.countdown().left_ns == ns(1000 * 983040ns));
    rig.set_timers(100'000, 2000);
    rig.reload();
    CHECK(rig.countdown() == CountdownState{.stage = 1, .left_ns = ns(100'000 * 960ns)});
    CHECK(rig.device->metrics().kicks == 1);
    rig.set_lock(kEnabled);  // once more is no new beginning
    rig.set_lock(0);
    CHECK(rig.countdown() == CountdownState{});
    const std::uint32_t settings = kFast | kInterruptType;
    CHECK(rig.driver.config(kConfigRegister, 4) == settings);
}

TEST_CASE("what is locked stays until the reset") {
    Rig rig;
    rig.set_lock(kEnabled | kLocked);
    rig.set_lock(0);
    CHECK(rig.driver.config(kLockRegister, 1) == (kEnabled | kLocked));
    CHECK(rig.countdown().stage == 1);
    rig.driver.set_config(kLockRegister, 4, 0xffffffff);
    CHECK(rig.driver.config(kLockRegister, 4) == (kEnabled | kLocked));
    const watchdog::State saved = rig.device->state();
    Rig next(saved);
    next.set_lock(0);
    CHECK(next.driver.config(kLockRegister, 1) == (kEnabled | kLocked));
    CHECK(next.device->state() == saved);
}

TEST_CASE("a guest that stops to reload is told of, in real time, and its successor sees why") {
    Rig rig(std::nullopt, std::chrono::steady_clock::now);
    rig.driver.set_config(kConfigRegister, 2, kFast);
    rig.set_timers(5000, 5000);
    rig.set_lock(kEnabled);
    while (rig.events.expirations == 0)
        std::this_thread::yield();
    CHECK(rig.device->timed_out());
    CHECK(rig.read(kReload, 2) == kTimeoutBit);
    CHECK(rig.read(kInterruptStatus, 4) == 1);
    CHECK(rig.countdown().stage == 0);
    CHECK(rig.events.expirations == 1);
    rig.write(kInterruptStatus, 4, 1);
    CHECK(rig.read(kInterruptStatus, 4) == 0);

    Rig next(std::nullopt, no_time, {.timed_out = true});
    CHECK(next.read(kReload, 2) == kTimeoutBit);
    next.unlock();
    next.write(kReload, 2, kTimeoutBit);
    CHECK(next.read(kReload, 2) == 0);
    CHECK_FALSE(next.device->timed_out());
}

TEST_CASE("a shorter time holds from the reload that begins it") {
    Rig rig(std::nullopt, std::chrono::steady_clock::now);
    rig.set_lock(kEnabled);  // for half an hour
    rig.driver.set_config(kConfigRegister, 2, kFast);
    rig.set_timers(1, 1);
    rig.reload();
    while (rig.events.expirations == 0)
        std::this_thread::yield();
    CHECK(rig.device->metrics().warnings == 1);
}

TEST_CASE("paused, it expires no more, and goes on in another machine with what was left") {
    Rig rig(std::nullopt, std::chrono::steady_clock::now);
    rig.set_timers(300, 200);
    rig.write(kReload, 2, kUnlock1);
    rig.set_lock(kEnabled);
    rig.device->pause();
    const watchdog::State saved = rig.device->state();
    CHECK(saved.countdown.stage == 1);
    CHECK(saved.countdown.left_ns <= ns(300 * kSlowTick));
    CHECK(saved.unlocked == 1);
    CHECK(rig.device->state() == saved);

    Rig still(saved);
    CHECK(still.device->state() == saved);
    CHECK(still.read(kTimer1, 4) == 300);
    CHECK(still.events.expirations == 0);
    Rig next(saved, std::chrono::steady_clock::now);
    while (next.events.expirations == 0)
        std::this_thread::yield();
    CHECK(rig.events.expirations == 0);
}

TEST_CASE("a state that no watchdog can have is refused") {
    Rig rig;
    rig.set_lock(kEnabled);
    const watchdog::State good = rig.device->state();
    const auto refused = [&](const auto& change) {
        watchdog::State bad = good;
        change(bad);
        const auto made = watchdog::Device::create(
            {}, {.space = rig.space, .engine = *rig.engine, .events = rig.events}, std::move(bad));
        if (made) return std::string("taken");
        CHECK(made.error().fault() == Fault::kInput);
        return made.error().text();
    };
    // Its BAR is taken by the one that is there; that is said first.
    CHECK(rig.bridge->remove({.bus = 0, .device = 1, .function = 0}));
    rig.device.reset();
    CHECK(refused([](watchdog::State&) {}) == "taken");
    CHECK(refused([](watchdog::State& state) { state.timer1 = 1 << 20; }).find("registers") !=
          std::string::npos);
    CHECK(refused([](watchdog::State& state) { state.timer2 = 1 << 20; }).find("registers") !=
          std::string::npos);
    CHECK(refused([](watchdog::State& state) { state.unlocked = 3; }).find("registers") != std::string::npos);
    CHECK(refused([](watchdog::State& state) { state.countdown.stage = 3; }).find("stage 3") !=
          std::string::npos);
    CHECK(refused([](watchdog::State& state) { state.countdown.left_ns = ~0ULL; }).find("left") !=
          std::string::npos);
    CHECK(refused([](watchdog::State& state) {
              state.function.config.bytes[kLockRegister] = 0;
          }).find("stage 1") != std::string::npos);
    CHECK(refused([](watchdog::State& state) {
              state.function.config.bytes[0] = 0;
          }).find("different device") != std::string::npos);
    auto again =
        watchdog::Device::create({}, {.space = rig.space, .engine = *rig.engine, .events = rig.events}, good);
    REQUIRE(again);
    rig.device = std::move(*again);
    REQUIRE(rig.bridge->add(*rig.device));
}
