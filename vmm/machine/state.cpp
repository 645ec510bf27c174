#include "vmm/machine/state.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <tuple>
#include <utility>

#include "vmm/machine/config.h"
#include "vmm/memory/layout.h"
#include "vmm/state/json.h"

namespace hako {
namespace {

using state::Reader;
using state::Section;
using state::Writer;

// Names of sections. What is saved once keeps its name.
constexpr std::string_view kFacts = "machine";
constexpr std::string_view kClock = "clock";
constexpr std::string_view kIrqchip = "irqchip";
constexpr std::string_view kCpu = "cpu";  // instance: its number
constexpr std::string_view kPower = "acpi";
constexpr std::string_view kHotplug = "pci-hotplug";
constexpr std::string_view kCpuHotplug = "cpu-hotplug";
constexpr std::string_view kMemoryHotplug = "memory-hotplug";
constexpr std::string_view kI8042 = "i8042";
constexpr std::string_view kRtc = "rtc";
constexpr std::string_view kSerial = "serial";
constexpr std::string_view kGeneration = "generation-id";  // optional
constexpr std::string_view kBridge = "pci-bridge";
constexpr std::string_view kSegment = "pci-segment";  // instance: its number, from 1 on
constexpr std::string_view kDisk =
    "disk";  // instance of these: the device's id; in segments from 1 on "1/<id>"
constexpr std::string_view kNet = "net";
constexpr std::string_view kRng = "rng";
constexpr std::string_view kConsole = "console";
constexpr std::string_view kVsock = "vsock";
constexpr std::string_view kFs = "fs";
constexpr std::string_view kBalloon = "balloon";
constexpr std::string_view kMem = "mem";
constexpr std::string_view kGoneDisk = "gone-disk";
constexpr std::string_view kWatchdog = "watchdog";

/// Calls `visit(name, member)` for each section of which there are several.
template <typename State, typename Visit>
void for_each_device(State& state, Visit visit) {
    visit(kDisk, state.disks);
    visit(kNet, state.nets);
    visit(kRng, state.rngs);
    visit(kConsole, state.consoles);
    visit(kVsock, state.vsocks);
    visit(kFs, state.fs);
    visit(kBalloon, state.balloons);
    visit(kMem, state.mems);
    visit(kGoneDisk, state.gone_disks);
}

template <typename Own>
std::string instance_of(const DeviceState<Own>& device) {
    return device.segment == 0 ? device.id : fmt::format("{}/{}", device.segment, device.id);
}

/// Segment and id. No id has a slash.
std::pair<std::uint16_t, std::string_view> place_of(std::string_view instance) {
    const std::size_t slash = instance.find('/');
    std::uint16_t segment = 0;
    if (slash == std::string_view::npos) return {segment, instance};
    const auto [end, error] = std::from_chars(instance.data(), instance.data() + slash, segment);
    // As it is written, and no other way.
    if (error != std::errc{} || end != instance.data() + slash || segment == 0 || instance.front() == '0')
        return {0, instance};
    return {segment, instance.substr(slash + 1)};
}

template <typename Own>
Result<> read_devices(Reader& reader, std::string_view name, std::vector<DeviceState<Own>>& devices) {
    for (const std::string_view instance : reader.instances(name)) {
        auto device = HAKO_TRY(reader.take<DeviceState<Own>>(name, instance));
        std::tie(device.segment, device.id) = place_of(instance);
        devices.push_back(std::move(device));
    }
    return {};
}

/// As many as were said. CPUs come and go, so there may be gaps, but not before the first.
Result<std::vector<kvm::VcpuState>> read_cpus(Reader& reader, std::uint32_t count) {
    const auto instances = reader.instances(kCpu);
    const bool with_gaps = instances.size() >= count;
    std::vector<kvm::VcpuState> cpus;
    for (std::uint32_t id = 0; id < kMaxVcpus && cpus.size() < count; ++id) {
        const std::string number = std::to_string(id);
        if (id > 0 && with_gaps && std::ranges::find(instances, number) == instances.end()) continue;
        cpus.push_back(HAKO_TRY(reader.take<kvm::VcpuState>(kCpu, number)));
        cpus.back().id = id;
    }
    if (cpus.size() < count) return fail_input("the state has {} of its {} vCPUs", cpus.size(), count);
    return cpus;
}

template <typename T>
Result<std::string> describe_as(const Section& section) {
    return state::to_json(HAKO_TRY_WRAP(Reader::decode<T>(section), "{}", section.text()), 6);
}

/// The value of a section that decode() knows, or nothing.
Result<std::optional<std::string>> describe_known(const Section& section) {
    const auto named = [&](std::string_view name) { return section.name == name; };
    if (named(kFacts)) return describe_as<MachineFacts>(section);
    if (named(kClock)) return describe_as<kvm::ClockState>(section);
    if (named(kIrqchip)) return describe_as<kvm::IrqchipState>(section);
    if (named(kCpu)) return describe_as<kvm::VcpuState>(section);
    if (named(kPower)) return describe_as<acpi_pm::State>(section);
    if (named(kHotplug)) return describe_as<acpi_pm::PciHotplugState>(section);
    if (named(kCpuHotplug)) return describe_as<acpi_pm::HotplugUnitsState>(section);
    if (named(kMemoryHotplug)) return describe_as<acpi_pm::MemoryHotplugState>(section);
    if (named(kI8042)) return describe_as<i8042::State>(section);
    if (named(kRtc)) return describe_as<rtc::State>(section);
    if (named(kSerial)) return describe_as<serial::State>(section);
    if (named(kGeneration)) return describe_as<vmgenid::State>(section);
    if (named(kBridge)) return describe_as<pci::HostBridge::State>(section);
    if (named(kDisk) || named(kGoneDisk)) return describe_as<DeviceState<virtio::blk::State>>(section);
    if (named(kNet)) return describe_as<DeviceState<virtio::net::State>>(section);
    if (named(kRng)) return describe_as<DeviceState<virtio::rng::State>>(section);
    if (named(kConsole)) return describe_as<DeviceState<virtio::console::State>>(section);
    if (named(kVsock)) return describe_as<DeviceState<virtio::vsock::State>>(section);
    if (named(kFs)) return describe_as<DeviceState<virtio::fs::State>>(section);
    if (named(kBalloon)) return describe_as<DeviceState<virtio::balloon::State>>(section);
    if (named(kSegment)) return describe_as<SegmentState>(section);
    if (named(kWatchdog)) return describe_as<WatchdogState>(section);
    if (named(kMem)) return describe_as<DeviceState<virtio::mem::State>>(section);
    return std::nullopt;
}

}  // namespace

Result<std::vector<std::byte>> encode(const MachineState& state) {
    Writer writer;
    writer.add(kFacts, {}, state.facts);
    writer.add(kClock, {}, state.clock);
    writer.add(kIrqchip, {}, state.irqchip);
    for (const kvm::VcpuState& cpu : state.cpus)
        writer.add(kCpu, std::to_string(cpu.id), cpu);
    writer.add(kPower, {}, state.platform.power);
    writer.add(kHotplug, {}, state.platform.hotplug);
    if (state.platform.cpu_hotplug) writer.add(kCpuHotplug, {}, *state.platform.cpu_hotplug);
    if (state.platform.memory_hotplug) writer.add(kMemoryHotplug, {}, *state.platform.memory_hotplug);
    writer.add(kI8042, {}, state.platform.i8042);
    writer.add(kRtc, {}, state.platform.rtc);
    if (state.platform.serial) writer.add(kSerial, {}, *state.platform.serial);
    if (state.platform.generation)
        writer.add(kGeneration, {}, *state.platform.generation, state::Need::kOptional);
    writer.add(kBridge, {}, state.bridge);
    for (std::size_t i = 0; i < state.segments.size(); ++i)
        writer.add(kSegment, std::to_string(i + 1), state.segments[i]);
    if (state.watchdog) writer.add(kWatchdog, {}, *state.watchdog);
    for_each_device(state, [&](std::string_view name, const auto& devices) {
        for (const auto& device : devices)
            writer.add(name, instance_of(device), device);
    });
    return std::move(writer).finish();
}

Result<MachineState> decode(std::span<const std::byte> bytes) {
    Reader reader = HAKO_TRY(Reader::parse(bytes));
    MachineState state;
    state.facts = HAKO_TRY(reader.take<MachineFacts>(kFacts));
    if (state.facts.vcpus < 1 || state.facts.vcpus > kMaxVcpus)
        return fail_input("the state is of a machine with {} vCPUs", state.facts.vcpus);
    state.clock = HAKO_TRY(reader.take<kvm::ClockState>(kClock));
    state.irqchip = HAKO_TRY(reader.take<kvm::IrqchipState>(kIrqchip));
    state.cpus = HAKO_TRY(read_cpus(reader, state.facts.vcpus));
    state.platform.power = HAKO_TRY(reader.take<acpi_pm::State>(kPower));
    state.platform.hotplug = HAKO_TRY(reader.take<acpi_pm::PciHotplugState>(kHotplug));
    state.platform.cpu_hotplug = HAKO_TRY(reader.find<acpi_pm::HotplugUnitsState>(kCpuHotplug));
    state.platform.memory_hotplug = HAKO_TRY(reader.find<acpi_pm::MemoryHotplugState>(kMemoryHotplug));
    state.platform.i8042 = HAKO_TRY(reader.take<i8042::State>(kI8042));
    state.platform.rtc = HAKO_TRY(reader.take<rtc::State>(kRtc));
    state.platform.serial = HAKO_TRY(reader.find<serial::State>(kSerial));
    state.platform.generation = HAKO_TRY(reader.find<vmgenid::State>(kGeneration));
    state.bridge = HAKO_TRY(reader.take<pci::HostBridge::State>(kBridge));
    for (std::size_t number = 1; number < layout::kMaxPciSegments; ++number) {
        auto segment = HAKO_TRY(reader.find<SegmentState>(kSegment, std::to_string(number)));
        if (!segment) break;
        state.segments.push_back(*std::move(segment));
    }
    state.watchdog = HAKO_TRY(reader.find<WatchdogState>(kWatchdog));
    Result<> read;
    for_each_device(state, [&](std::string_view name, auto& devices) {
        if (read) read = read_devices(reader, name, devices);
    });
    if (!read) return std::unexpected(std::move(read).error());
    HAKO_TRY(reader.finish());
    return state;
}

Result<std::string> describe(std::span<const std::byte> bytes) {
    const Reader reader = HAKO_TRY(Reader::parse(bytes));
    std::vector<std::string> sections;
    for (const Section& section : reader.sections()) {
        std::optional<std::string> value = HAKO_TRY(describe_known(section));
        std::vector<state::JsonMember> members;
        members.emplace_back("name", state::json_text(section.name));
        if (!section.instance.empty()) members.emplace_back("instance", state::json_text(section.instance));
        members.emplace_back("version", std::to_string(section.version));
        members.emplace_back("required", section.need == state::Need::kRequired ? "true" : "false");
        members.emplace_back("bytes", std::to_string(section.payload.size()));
        members.emplace_back(value ? "state" : "unknown",
                             value ? *value : state::json_bytes(section.payload));
        sections.push_back(state::json_object(members, 4));
    }
    const std::vector<state::JsonMember> whole = {{"format", std::to_string(state::kFormat)},
                                                  {"sections", state::json_array(sections, 2)}};
    return state::json_object(whole, 0) + "\n";
}

}  // namespace hako
