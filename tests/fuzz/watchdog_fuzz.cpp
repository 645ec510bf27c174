// libFuzzer target: a guest that does whatever it likes to the watchdog's registers, and hosts that move it.
//
// Input: steps, each a byte that says what to do, then what that takes. The clock is the input's, so that
// nothing happens by itself; what must hold of each moment is checked after each step.
#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "devices/pci/host_bridge.h"
#include "devices/watchdog/device.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/require.h"
#include "tests/unit/devices/recorded_events.h"
#include "vmm/base/log.h"
#include "vmm/memory/layout.h"

using namespace hako;
using hako::fuzz::Input;
using hako::fuzz::require;
using namespace hako::watchdog;

namespace {

constexpr std::size_t kMaxSteps = 64;
constexpr std::uint64_t kConfiguration = layout::kEcam + (std::uint64_t{1} << 15);

std::atomic<std::int64_t> moment{0};
io::Time read_moment() {
    return io::Time{std::chrono::nanoseconds(moment.load())};
}

io::Engine& engine() {
    static const std::unique_ptr<io::Engine> made = [] {
        set_log_level(LogLevel::kError);
        return io::Engine::create().value();
    }();
    return *made;
}

class Run {
  public:
    explicit Run(Input input) : input_(input) {
        bridge_ = pci::HostBridge::create(space_, ports_).value();
        make(std::nullopt);
        device_->resume();
    }
    ~Run() { remove(); }

    void step() {
        const std::uint8_t what = input_.byte();
        std::array<std::byte, 8> data{};
        const std::size_t length = std::size_t{1} << (what >> 4 & 3);
        switch (what % 8) {
            case 0:
                return write(kConfiguration + input_.word() % 4096, std::min<std::size_t>(length, 4));
            case 1:
                return write(kConfiguration + (input_.byte() % 2 == 0 ? kConfigRegister : kLockRegister), 1);
            case 2:
                if (const auto at = device_->mapped_at(kBar)) write(*at + input_.byte() % kBarSize, length);
                return;
            case 3:
                if (const auto at = device_->mapped_at(kBar)) {
                    store(*at + kReload, 2, kUnlock1);
                    store(*at + kReload, 2, kUnlock2);
                    write(*at + input_.byte() % 4 * 4, 4);
                }
                return;
            case 4:
                mmio_.read(layout::kEcam + input_.long_word() % layout::kEcamSize,
                           std::span(data).first(length));
                if (const auto at = device_->mapped_at(kBar))
                    mmio_.read(*at + input_.byte() % kBarSize, std::span(data).first(length));
                return;
            case 5:
                moment += input_.long_word() * std::int64_t{1000};
                return look();
            case 6:
                return pause(input_.byte() * std::int64_t{1'000'000'000});
            default:
                return move();
        }
    }

  private:
    void make(std::optional<watchdog::State> state) {
        auto made = watchdog::Device::create({}, {.space = space_, .engine = engine(), .events = events_},
                                             std::move(state), read_moment);
        require(made.has_value(), "a state of its own is refused");
        device_ = std::move(*made);
        require(bridge_->add(*device_, 1).has_value(), "its slot is taken");
    }
    void remove() {
        require(bridge_->remove({.bus = 0, .device = 1, .function = 0}).has_value(), "it is not there");
        device_.reset();
    }
    void store(std::uint64_t address, std::size_t length, std::uint64_t value) {
        std::array<std::byte, 8> data{};
        store_le(data, value);
        mmio_.write(address, std::span<const std::byte>(data).first(length));
    }
    void write(std::uint64_t address, std::size_t length) {
        const std::uint64_t value = input_.long_word();
        store(address, length, value | value << 32);
    }
    /// As the io thread does it, which may be at it, too.
    void look() {
        const bool counted = device_->state().countdown.stage != 0;
        const int before = events_.expirations;
        device_->pause();
        device_->resume();
        engine().run_sync([] {});
        require(counted || events_.expirations == before, "it expires though it did not count");
    }
    void pause(std::int64_t time) {
        device_->pause();
        const int before = events_.expirations;
        const watchdog::State saved = device_->state();
        moment += time;
        require(device_->state() == saved, "time does not stand still");
        require(events_.expirations == before, "it expires while it is paused");
        device_->resume();
    }
    void move() {
        device_->pause();
        const watchdog::State saved = device_->state();
        require(
            (saved.countdown.stage != 0) <= ((saved.function.config.bytes[kLockRegister] & kEnabled) != 0),
            "it counts though it is disabled");
        remove();
        make(saved);
        require(device_->state() == saved, "it is another after a move");
        device_->resume();
    }

    Input input_;
    Bus mmio_;
    Bus ports_;
    pci::AddressSpace space_{mmio_, pci::windows_above(GuestAddress{64 * MiB})};
    test::RecordedEvents events_;
    std::unique_ptr<pci::HostBridge> bridge_;
    std::unique_ptr<watchdog::Device> device_;

  public:
    [[nodiscard]] bool done() const { return input_.empty(); }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Run run(Input(data, size));
    for (std::size_t i = 0; i < kMaxSteps && !run.done(); ++i)
        run.step();
    return 0;
}
