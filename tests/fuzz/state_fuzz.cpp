// libFuzzer target: a saved state that anybody may have written.
//
// The first byte says how the rest is read: as it is, or with its checksums and its last section made right,
// so that what lies behind them is reached. Devices are built from what can be read, go on, and are saved
// again.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "devices/pci/segment.h"
#include "tests/fuzz/require.h"
#include "tests/unit/base/fake_interrupts.h"
#include "tests/unit/pci/fake_device.h"
#include "vmm/base/log.h"
#include "vmm/machine/devices.h"
#include "vmm/machine/state.h"

using namespace hako;
using hako::fuzz::require;

namespace {

using Bytes = std::vector<std::byte>;

/// The sections that can be told apart in `bytes`, as a whole state.
Bytes mended(std::span<const std::byte> bytes) {
    state::Writer writer;
    bytes = bytes.subspan(std::min(bytes.size(), state::kFileHeaderBytes));
    while (bytes.size() >= state::kSectionHeaderBytes) {
        const auto header = state::SectionHeader::parse(bytes.first<state::kSectionHeaderBytes>());
        if (!header || header->body_length() > bytes.size() - state::kSectionHeaderBytes) break;
        const auto body = bytes.subspan(state::kSectionHeaderBytes, header->body_length());
        const auto text = [&](std::size_t from, std::size_t length) {
            return std::string_view(reinterpret_cast<const char*>(body.data()) + from, length);
        };
        const std::string_view name = text(0, header->name_length);
        const auto payload = body.last(header->payload_length);
        if (name != "end")
            writer.add_payload(name, text(header->name_length, header->instance_length), header->version,
                               Bytes(payload.begin(), payload.end()), header->need);
        bytes = bytes.subspan(state::kSectionHeaderBytes + header->body_length());
    }
    auto whole = std::move(writer).finish();
    return whole ? *std::move(whole) : Bytes{};
}

/// The only device that is one of the memory, too.
void try_mem(const MachineState& state, io::Engine& engine) {
    const virtio::mem::State& saved = state.mems.front().device;
    const MemoryConfig config{.size = 2 * MiB,
                              .room = 128 * MiB,
                              .plugged = align_down(saved.requested % (129 * MiB), 2 * MiB),
                              .growth = MemoryGrowth::kVirtioMem,
                              .thp = false};
    GuestMemory memory = GuestMemory::create(config).value();
    const auto device =
        virtio::mem::MemDevice::create(*virtio::mem::config_of(config), memory, engine, saved);
    if (!device) return;
    (*device)->resume();
    (*device)->pause();
    require((*device)->state() == saved, "a state changes when it is restored");
}

/// A bus on which devices are built that need nothing of the host. What does not fit is refused, and no more.
void try_devices(const MachineState& state, io::Engine& engine) {
    constexpr std::size_t kTried = 2;
    GuestMemory memory = GuestMemory::create({.size = 2 * MiB, .thp = false}).value();
    Bus mmio;
    Bus ports;
    test::FakeInterrupts interrupts;
    test::FakeKicks kicks;
    std::vector<std::unique_ptr<pci::Segment>> segments;
    const auto count = static_cast<std::uint16_t>(state.segments.size() + 1);
    for (std::uint16_t number = 0; number < count; ++number) {
        auto made = pci::Segment::create(mmio, ports, memory.end(), number, count,
                                         number == 0 ? state.bridge : state.segments[number - 1U].bridge);
        if (!made) return;
        segments.push_back(*std::move(made));
    }
    Devices devices({.memory = memory, .space = segments[0]->space, .interrupts = interrupts, .kicks = kicks},
                    *segments[0]->bridge, engine);
    for (std::uint16_t number = 1; number < count; ++number)
        devices.add_segment(segments[number]->space, *segments[number]->bridge);
    for (std::size_t i = 0; i < std::min(state.rngs.size(), kTried); ++i) {
        virtio::rng::Config config;
        config.id = state.rngs[i].id;
        (void)devices.add(config, &state.rngs[i]);
    }
    for (std::size_t i = 0; i < std::min(state.balloons.size(), kTried); ++i) {
        virtio::balloon::Config config;
        config.id = state.balloons[i].id;
        config.size = state.balloons[i].device.num_pages * virtio::balloon::kBalloonPage;
        (void)devices.add(config, &state.balloons[i]);
    }
    if (!state.mems.empty()) try_mem(state, engine);
    for (std::size_t i = 0; i < std::min(state.gone_disks.size(), kTried); ++i)
        (void)devices.restore_gone(state.gone_disks[i]);
    for (int life = 0; life < 2; ++life) {
        devices.resume();
        devices.pause();
        MachineState again;
        (void)devices.save(again);
        require(again.rngs.size() <= kTried && again.gone_disks.size() <= kTried, "devices multiply");
    }
}

void try_state(std::span<const std::byte> bytes, io::Engine& engine) {
    const auto text = describe(bytes);
    const auto state = decode(bytes);
    if (!state) {
        require(state.error().fault() == Fault::kInput, "a bad state is somebody else's fault");
        return;
    }
    require(text.has_value(), "a good state cannot be shown");
    const auto again = encode(*state);
    require(again.has_value(), "what was read cannot be written");
    const auto back = decode(*again);
    require(back.has_value(), "what was written cannot be read");
    require(encode(*back).value() == *again, "a state changes when it is read");
    try_devices(*state, engine);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::unique_ptr<io::Engine> engine = [] {
        set_log_level(LogLevel::kError);
        return io::Engine::create().value();
    }();
    if (size == 0) return 0;
    const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
    if (data[0] % 2 == 0)
        try_state(bytes, *engine);
    else
        try_state(mended(bytes), *engine);
    return 0;
}
