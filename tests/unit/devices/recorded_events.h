// Counts what a guest asks of the machine.
#pragma once

#include <atomic>
#include <vector>

#include "devices/platform_events.h"

namespace hako::test {

struct RecordedEvents final : PlatformEvents {
    void power_off() override { ++power_offs; }
    void reset() override { ++resets; }
    void panicked() override { ++panics; }
    void crash_loaded() override { ++crashes; }
    void watchdog_expired() override { ++expirations; }
    void slot_ejected(pci::Bdf address) override {
        ejected.push_back(address.device);
        last_segment = address.segment;
    }
    void cpu_ejected(std::uint32_t cpu) override { cpus_ejected.push_back(cpu); }
    void memory_ejected(unsigned piece) override { memory_pieces_ejected.push_back(piece); }

    int power_offs = 0;
    int resets = 0;
    int panics = 0;
    int crashes = 0;
    std::atomic<int> expirations = 0;
    std::vector<std::uint8_t> ejected;
    int last_segment = -1;  ///< of what was ejected
    std::vector<std::uint32_t> cpus_ejected;
    std::vector<unsigned> memory_pieces_ejected;
};

}  // namespace hako::test
