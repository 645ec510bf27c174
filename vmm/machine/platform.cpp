#include "vmm/machine/platform.h"

#include "vmm/memory/layout.h"

namespace hako {

Result<std::unique_ptr<Platform>> Platform::create(Bus& pio, InterruptController& interrupts,
                                                   PlatformEvents& events, console::Sink* serial) {
    IrqLine ged = HAKO_TRY(IrqLine::create(interrupts, layout::kIrqGed));
    std::unique_ptr<Platform> platform(new Platform(events, std::move(ged)));
    HAKO_TRY(pio.insert(layout::kPortPm, acpi_pm::kPorts, platform->power_, "ACPI power management"));
    HAKO_TRY(pio.insert(layout::kPortPciHotplug, acpi_pm::kHotplugPorts, platform->hotplug_, "PCI hotplug"));
    HAKO_TRY(pio.insert(layout::kPortI8042, i8042::kPorts, platform->i8042_, "i8042"));
    HAKO_TRY(pio.insert(layout::kPortPvpanic, pvpanic::kPorts, platform->pvpanic_, "pvpanic"));
    HAKO_TRY(pio.insert(layout::kPortRtc, rtc::kPorts, platform->rtc_, "RTC"));
    if (serial != nullptr) {
        IrqLine line = HAKO_TRY(IrqLine::create(interrupts, layout::kIrqSerial));
        platform->serial_.emplace(std::move(line), *serial);
        HAKO_TRY(pio.insert(layout::kPortSerial, serial::kPorts, *platform->serial_, "serial port"));
    }
    return platform;
}

}  // namespace hako
