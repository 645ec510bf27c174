// A machine's state with a value in every field, the same for ever: the fixture of each format is made of it.
#pragma once

#include "tests/unit/state/fill.h"
#include "vmm/machine/state.h"

namespace hako::test {

/// As a hako of format `version` would have saved it.
[[nodiscard]] inline MachineState sample_state(std::uint16_t version) {
    Filler filler(version);
    const auto fill = [&filler](auto& value) { filler.fill(value); };
    MachineState state;
    fill(state.facts);
    state.facts.vcpus = 2;
    fill(state.clock);
    fill(state.irqchip);
    state.cpus.resize(2);
    for (kvm::VcpuState& cpu : state.cpus)
        fill(cpu);
    state.cpus[1].id = 1;
    fill(state.platform.power);
    fill(state.platform.hotplug);
    fill(state.platform.i8042);
    fill(state.platform.rtc);
    fill(state.platform.serial.emplace());
    fill(state.bridge);
    const auto fill_device = [&](auto& devices, const char* id) {
        auto& device = devices.emplace_back();
        fill(device);
        device.id = id;
    };
    fill_device(state.disks, "disk0");
    fill_device(state.disks, "__seed");
    fill_device(state.nets, "net0");
    fill_device(state.rngs, "rng");
    fill_device(state.consoles, "console0");
    fill_device(state.gone_disks, "7");
    // What is one by one in the middle of large pages need not be in the fixture.
    for (auto* const device :
         {&state.disks[0].transport, &state.disks[1].transport, &state.nets[0].transport,
          &state.rngs[0].transport, &state.consoles[0].transport, &state.gone_disks[0].transport})
        std::fill(device->function.config.bytes.begin() + 256, device->function.config.bytes.end(), 0);
    std::fill(state.bridge.function.config.bytes.begin() + 64, state.bridge.function.config.bytes.end(), 0);
    return state;
}

}  // namespace hako::test
