#include "devices/console/serial_link.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace hako::console {
namespace {

/// The first byte of a batch waits this long for others: a guest writes byte by byte, at some microseconds
/// each.
constexpr std::chrono::milliseconds kBatchTime{1};
constexpr std::chrono::milliseconds kStopTime{1000};

}  // namespace

Result<std::unique_ptr<SerialLink>> SerialLink::create(io::Engine& engine, Backend& backend) {
    EventFd wake = HAKO_TRY(EventFd::create());
    return std::unique_ptr<SerialLink>(new SerialLink(engine, backend, std::move(wake)));
}

SerialLink::SerialLink(io::Engine& engine, Backend& backend, EventFd wake)
    : engine_(engine),
      backend_(backend),
      wake_(std::move(wake)),
      watch_(engine, *this),
      batch_(engine, *this) {
    engine_.run_sync([&] { watch_.start(wake_.fd()); });
}

SerialLink::~SerialLink() {
    engine_.run_sync([&] { uart_ = nullptr; });
    hand_on();
    backend_.stop();
    std::latch idle(1);
    engine_.run_sync([&] {
        idle_ = &idle;
        watch_.stop();
        batch_.stop();
        engine_.schedule(*this);
    });
    idle.wait();
    // One more round on the io thread: it has let go of the latch then.
    engine_.run_sync([&] { engine_.unschedule(*this); });
}

// head_, tail_ and the flags are sequentially consistent: either side must see the other's byte or room when
// it says that it waits.
bool SerialLink::put(std::uint8_t byte) {
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    if (head - tail_.load() == kRing) {
        refused_ = true;
        if (head - tail_.load() == kRing) return false;
    }
    ring_[head % kRing] = byte;
    head_ = head + 1;
    if (!awake_.load() && !awake_.exchange(true)) wake_.signal();
    return true;
}

void SerialLink::input_wanted() {
    wanted_ = true;
    wake_.signal();
}

bool SerialLink::empty() const {
    return head_.load() == tail_.load();
}

void SerialLink::start(Port& uart) {
    engine_.run_sync([&] {
        uart_ = &uart;
        wanted_ = false;
        uart.writable();
    });
    backend_.start(*this);
}

void SerialLink::stop() {
    engine_.run_sync([&] {
        if (uart_ != nullptr) uart_->writable();
    });
    hand_on();
    backend_.stop();
    engine_.run_sync([&] { uart_ = nullptr; });
}

/// All of the ring into the backend, if that takes it in time.
void SerialLink::hand_on() {
    const auto deadline = std::chrono::steady_clock::now() + kStopTime;
    for (;;) {
        engine_.run_sync([&] { drain(); });
        if (empty()) return;
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0 || !backend_.flush(left)) return;
    }
}

std::size_t SerialLink::receive(std::span<const std::uint8_t> bytes) {
    return uart_ == nullptr ? 0 : uart_->receive(bytes);
}

void SerialLink::writable() {
    drain();
    engine_.schedule(*this);
}

void SerialLink::run_batch() {
    if (wanted_.exchange(false)) backend_.input_wanted();
    if (!batch_.active() && idle_ == nullptr) {
        if (std::exchange(gathering_, false)) drain();
        if (empty()) {
            // A byte from before this is seen below, one from after it wakes.
            awake_ = false;
            if (!empty() && !awake_.exchange(true)) engine_.schedule(*this);
        } else if (!blocked_) {
            awake_ = true;
            gathering_ = true;
            batch_.start(kBatchTime);
        }
    }
    if (idle_ != nullptr && !watch_.active() && !batch_.active()) std::exchange(idle_, nullptr)->count_down();
}

void SerialLink::drain() {
    std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    // What comes in from now on is for the next time.
    const std::uint32_t head = head_.load();
    blocked_ = false;
    while (!blocked_ && tail != head) {
        const std::uint32_t at = tail % kRing;
        const std::uint32_t count = std::min(kRing - at, head - tail);
        const std::size_t taken = backend_.write(std::span(ring_).subspan(at, count));
        blocked_ = taken < count;
        tail += static_cast<std::uint32_t>(taken);
        tail_ = tail;
        if (taken > 0 && refused_.exchange(false) && uart_ != nullptr) uart_->writable();
    }
}

}  // namespace hako::console
