// An interrupt controller that only writes down what it is told.
#pragma once

#include <map>

#include "vmm/bus/interrupts.h"

namespace hako::test {

class FakeInterrupts final : public InterruptController {
  public:
    Result<std::uint32_t> allocate_gsi() override {
        if (next_gsi == limit) return fail_host("no interrupt route left");
        return next_gsi++;
    }
    void free_gsi(std::uint32_t gsi) override { routes.erase(gsi); }
    Result<> set_route(std::uint32_t gsi, const MsiMessage& message) override {
        routes[gsi] = message;
        return {};
    }
    Result<> connect(std::uint32_t gsi, int eventfd) override {
        connected[gsi] = eventfd;
        return {};
    }
    Result<> disconnect(std::uint32_t gsi, int) override {
        connected.erase(gsi);
        return {};
    }

    std::uint32_t next_gsi = 24;
    std::uint32_t limit = 4096;
    std::map<std::uint32_t, MsiMessage> routes;
    std::map<std::uint32_t, int> connected;
};

}  // namespace hako::test
