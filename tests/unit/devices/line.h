// An interrupt line whose edges can be counted.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdint>

#include "tests/unit/base/fake_interrupts.h"

namespace hako::test {

class Line {
  public:
    IrqLine take() {
        auto line = IrqLine::create(controller_, kGsi);
        REQUIRE(line);
        return std::move(*line);
    }
    /// Edges since the last call.
    std::uint64_t edges() {
        std::uint64_t count = 0;
        return ::read(controller_.connected.at(kGsi), &count, sizeof count) == sizeof count ? count : 0;
    }

  private:
    static constexpr std::uint32_t kGsi = 4;
    FakeInterrupts controller_;
};

}  // namespace hako::test
