// A UART with a backend that takes as much as the test says.
#pragma once

#include <string>

#include "devices/serial/device.h"
#include "tests/unit/devices/line.h"
#include "tests/unit/devices/ports.h"

namespace hako::test {

struct FakeSink final : console::Sink {
    bool put(std::uint8_t byte) override {
        if (room == 0) return false;
        --room;
        text += static_cast<char>(byte);
        return true;
    }
    void input_wanted() override { ++wanted; }

    std::size_t room = SIZE_MAX;
    std::string text;
    int wanted = 0;
};

namespace uart {
enum Register : std::uint64_t { kData, kIer, kIir, kLcr, kMcr, kLsr, kMsr, kScr };
inline constexpr std::uint64_t kFcr = kIir;
}  // namespace uart

struct SerialFixture {
    explicit SerialFixture(const std::optional<serial::State>& state = std::nullopt)
        : device(line.take(), sink, state) {}

    std::uint8_t in(std::uint64_t offset) { return test::in(device, offset); }
    void out(std::uint64_t offset, unsigned value) { test::out(device, offset, value); }
    std::size_t receive(std::string_view text) {
        return device.receive({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    }
    /// FIFOs on with a trigger level of 8, OUT2 and the given interrupts enabled.
    void set_up(unsigned ier) {
        out(uart::kFcr, 0x81);
        out(uart::kMcr, 0x0b);
        out(uart::kIer, ier);
        (void)in(uart::kMsr);
        (void)in(uart::kIir);
        line.edges();
    }

    Line line;
    FakeSink sink;
    serial::Device device;
};

}  // namespace hako::test
