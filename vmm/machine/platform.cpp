#include "vmm/machine/platform.h"

#include "vmm/machine/state.h"
#include "vmm/memory/layout.h"

namespace hako {
namespace {

template <typename State>
std::optional<State> member(const PlatformState* state, State PlatformState::* which) {
    return state == nullptr ? std::nullopt : std::optional(state->*which);
}

std::optional<acpi_pm::HotplugUnitsState> fresh_units(std::uint64_t enabled) {
    if (enabled == 0) return std::nullopt;
    return acpi_pm::HotplugUnitsState{.enabled = enabled, .inserted = 0, .leaving = 0, .asked = 0};
}

}  // namespace

Platform::Platform(PlatformEvents& events, IrqLine ged, const PlatformState* restored)
    : power_(std::move(ged), events, member(restored, &PlatformState::power)),
      hotplug_(power_, events, member(restored, &PlatformState::hotplug)),
      i8042_(events, member(restored, &PlatformState::i8042)),
      pvpanic_(events),
      rtc_({}, member(restored, &PlatformState::rtc)) {}

Result<std::unique_ptr<Platform>> Platform::create(Bus& pio, InterruptController& interrupts,
                                                   PlatformEvents& events, console::Sink* serial,
                                                   const PlatformUnits& units,
                                                   const PlatformState* restored) {
    if (restored != nullptr && restored->serial.has_value() != (serial != nullptr))
        return fail_input("the machine was saved {} a serial port", restored->serial ? "with" : "without");
    IrqLine ged = HAKO_TRY(IrqLine::create(interrupts, layout::kIrqGed));
    std::unique_ptr<Platform> platform(new Platform(events, std::move(ged), restored));
    HAKO_TRY(pio.insert(layout::kPortPm, acpi_pm::kPorts, platform->power_, "ACPI power management"));
    HAKO_TRY(pio.insert(layout::kPortPciHotplug, acpi_pm::kHotplugPorts, platform->hotplug_, "PCI hotplug"));
    for (const acpi_pm::PciHotplugState& state : units.segments) {
        const auto segment = static_cast<std::uint16_t>(platform->more_hotplug_.size() + 1);
        platform->more_hotplug_.push_back(
            std::make_unique<acpi_pm::PciHotplug>(platform->power_, events, state, segment));
        HAKO_TRY(pio.insert(layout::pci_hotplug_port(segment), acpi_pm::kHotplugPorts,
                            *platform->more_hotplug_.back(), "PCI hotplug"));
    }
    const auto cpus = restored != nullptr ? restored->cpu_hotplug : fresh_units(units.cpus);
    if (cpus) {
        platform->cpu_hotplug_.emplace(platform->power_, events, *cpus);
        HAKO_TRY(pio.insert(layout::kPortCpuHotplug, acpi_pm::kCpuHotplugPorts, *platform->cpu_hotplug_,
                            "CPU hotplug"));
    }
    auto memory = restored != nullptr ? restored->memory_hotplug
                  : units.memory      ? std::optional(acpi_pm::MemoryHotplugState{})
                                      : std::nullopt;
    if (memory) {
        platform->memory_hotplug_.emplace(platform->power_, events, *std::move(memory));
        HAKO_TRY(pio.insert(layout::kPortMemoryHotplug, acpi_pm::kMemoryHotplugPorts,
                            *platform->memory_hotplug_, "memory hotplug"));
    }
    HAKO_TRY(pio.insert(layout::kPortI8042, i8042::kPorts, platform->i8042_, "i8042"));
    HAKO_TRY(pio.insert(layout::kPortPvpanic, pvpanic::kPorts, platform->pvpanic_, "pvpanic"));
    HAKO_TRY(pio.insert(layout::kPortRtc, rtc::kPorts, platform->rtc_, "RTC"));
    if (serial != nullptr) {
        IrqLine line = HAKO_TRY(IrqLine::create(interrupts, layout::kIrqSerial));
        platform->serial_.emplace(std::move(line), *serial,
                                  restored != nullptr ? restored->serial : std::nullopt);
        HAKO_TRY(pio.insert(layout::kPortSerial, serial::kPorts, *platform->serial_, "serial port"));
    }
    if (restored == nullptr) {
        platform->generation_ = HAKO_TRY(vmgenid::fresh());
    } else {
        platform->generation_ = restored->generation;
    }
    return platform;
}

PlatformState Platform::state() const {
    PlatformState state{.power = power_.state(),
                        .hotplug = hotplug_.state(),
                        .cpu_hotplug = std::nullopt,
                        .memory_hotplug = std::nullopt,
                        .i8042 = i8042_.state(),
                        .rtc = rtc_.state(),
                        .serial = std::nullopt,
                        .generation = generation_};
    if (cpu_hotplug_) state.cpu_hotplug = cpu_hotplug_->state();
    if (memory_hotplug_) state.memory_hotplug = memory_hotplug_->state();
    if (serial_) state.serial = serial_->state();
    return state;
}

Result<> renew_generation(PlatformState& saved) {
    if (!saved.generation) return {};
    saved.generation = HAKO_TRY(vmgenid::fresh());
    saved.power.events |= acpi_pm::kEventGeneration;
    return {};
}

void Platform::repeat_edges() {
    power_.repeat_edge();
    if (serial_) serial_->writable();
}

}  // namespace hako
