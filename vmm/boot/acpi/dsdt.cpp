#include "vmm/boot/acpi/dsdt.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "vmm/boot/acpi/local_apic.h"
#include "vmm/boot/acpi/resources.h"
#include "vmm/memory/layout.h"

namespace hako::acpi {
namespace {

using namespace aml;
using namespace resources;

constexpr std::uint16_t kEventPort = layout::kPortPm + 3;
constexpr std::uint8_t kNotifyPressed = 0x80;  // power button (ACPI 6.3, 4.8.3.1.2)
constexpr std::uint8_t kNotifyGeneration = 0x80;
// ACPI 6.3, 5.6.6, table 5-163.
constexpr std::uint8_t kNotifyBusCheck = 0;
constexpr std::uint8_t kNotifyDeviceCheck = 1;
constexpr std::uint8_t kNotifyEjectRequest = 3;
constexpr std::uint8_t kHotplugPorts = 12;
// Of devices/acpi/hotplug_units.h: a unit's status register.
constexpr std::uint32_t kUnitEnabled = 1 << 0;
constexpr std::uint32_t kUnitInserted = 1 << 1;
constexpr std::uint32_t kUnitLeaving = 1 << 2;
constexpr std::uint32_t kUnitEject = 1 << 3;
constexpr std::uint32_t kMemoryKept = 1 << 4;
constexpr std::uint8_t kPresentAndWorking = 0x0f;

/// What the guest may take over of PCI Express (PCI Firmware 3.2, 4.5.1, control field): the capability
/// structure. Hot plug comes by ACPI, and there are no ports that could send PME or AER messages.
constexpr std::uint32_t kOscGranted = 1u << 4;
constexpr std::uint32_t kOscUnknownUuid = 1u << 2;
constexpr std::uint32_t kOscMasked = 1u << 4;

Bytes crs(std::initializer_list<Bytes> descriptors) {
    return name("_CRS", resource_template(descriptors));
}

/// _OSC: the guest asks who is in charge of which PCI Express feature (PCI Firmware 3.2, 4.5).
Bytes osc() {
    const Bytes status = path("CDW1");
    const Bytes control = path("CDW3");
    const Bytes ours = equal(arg(0), uuid("33db4d5b-1ff7-401c-9657-7441c03dd766"));
    return method("_OSC", 4, true,
                  join({dword_field(arg(3), 0, "CDW1"),
                        if_then(ours, join({dword_field(arg(3), 8, "CDW3"), store(control, local(0)),
                                            bit_and(control, integer(kOscGranted), control),
                                            if_then(logical_not(equal(local(0), control)),
                                                    bit_or(status, integer(kOscMasked), status))})),
                        otherwise(bit_or(status, integer(kOscUnknownUuid), status)), give_back(arg(3))}));
}

constexpr std::uint32_t kSlots = 32;

/// PCNT: tells Linux which slots got a function (device check) or should lose theirs (eject request). The
/// registers are devices/acpi/pci_hotplug.h's.
Bytes slot_events() {
    Bytes body = join({store(path("PCIU"), local(0)), store(path("PCID"), local(1))});
    for (std::uint32_t slot = 1; slot < kSlots; ++slot) {
        const Bytes mask = integer(std::uint32_t{1} << slot);
        const std::string object = fmt::format("S{:02X}", slot);
        append(body, if_then(bit_and(local(0), mask), notify(object, kNotifyDeviceCheck)));
        append(body, if_then(bit_and(local(1), mask), notify(object, kNotifyEjectRequest)));
    }
    return method("PCNT", 0, true, body);
}

/// A function in any slot may come and go; slot 0 is the host bridge.
Bytes slots(std::uint16_t segment) {
    Bytes result = join({io_region("HREG", layout::pci_hotplug_port(segment), kHotplugPorts),
                         dword_fields("HREG", std::array<std::string, 3>{"PCIU", "PCID", "PCIE"})});
    for (std::uint32_t slot = 1; slot < kSlots; ++slot)
        append(
            result,
            device(fmt::format("S{:02X}", slot),
                   join({name("_SUN", integer(segment * kSlots + slot)), name("_ADR", integer(slot << 16)),
                         method("_EJ0", 1, true, store(integer(std::uint32_t{1} << slot), path("PCIE")))})));
    return join({result, slot_events()});
}

std::string bridge_name(std::uint16_t segment) {
    return fmt::format("PCI{:X}", segment);
}

/// What the bridge of a segment passes on (as pci::windows_above() gives it out). The old ports are the first
/// one's.
Bytes bridge_resources(const AcpiConfig& config, std::uint16_t segment) {
    const std::uint64_t low =
        layout::segment_share(layout::kMmio32End - layout::kMmio32, config.pci_segments);
    const std::uint64_t high = layout::segment_share(layout::kMmio64Size, config.pci_segments);
    const Bytes below = memory_window32(static_cast<std::uint32_t>(layout::kMmio32 + segment * low),
                                        static_cast<std::uint32_t>(low));
    const Bytes above = memory_window64(layout::mmio64_base(config.ram_end.value) + segment * high, high);
    if (segment != 0) return crs({bus_numbers(0, 0), below, above});
    return crs({bus_numbers(0, 0), io(layout::kPortPciAddress, 8), below, above});
}

/// No _PRT: hako's PCI functions have MSI-X and no interrupt pin.
Bytes pci_host_bridge(const AcpiConfig& config, std::uint16_t segment) {
    return device(bridge_name(segment),
                  join({name("_HID", eisa_id("PNP0A08")), name("_CID", eisa_id("PNP0A03")),
                        name("_UID", integer(segment)), name("_SEG", integer(segment)),
                        name("_BBN", integer(0)), bridge_resources(config, segment), osc(), slots(segment)}));
}

Bytes pci_host_bridges(const AcpiConfig& config) {
    Bytes result;
    for (std::uint16_t segment = 0; segment < config.pci_segments; ++segment)
        append(result, pci_host_bridge(config, segment));
    return result;
}

/// Motherboard resources: ECAM is taken (PCI Firmware 3.2, 4.1.2).
Bytes motherboard(const AcpiConfig& config) {
    return device(
        "MBRD", join({name("_HID", eisa_id("PNP0C02")), name("_UID", integer(0)),
                      crs({memory32_fixed(layout::kEcam, static_cast<std::uint32_t>(config.pci_segments *
                                                                                    layout::kEcamSize))})}));
}

Bytes serial_port() {
    return device("COM1", join({name("_HID", eisa_id("PNP0501")), name("_UID", integer(0)),
                                crs({io(layout::kPortSerial, 8), edge_interrupt(layout::kIrqSerial)})}));
}

Bytes clock(bool interrupt) {
    const Bytes ports = io(layout::kPortRtc, 2);
    return device("RTC0", join({name("_HID", eisa_id("PNP0B00")),
                                interrupt ? crs({ports, edge_interrupt(layout::kIrqRtc)}) : crs({ports})}));
}

Bytes keyboard_controller() {
    constexpr std::uint32_t kKeyboardInterrupt = 1;
    return device("KBD0", join({name("_HID", eisa_id("PNP0303")),
                                crs({io(layout::kPortI8042, 1), io(layout::kPortI8042 + 4, 1),
                                     edge_interrupt(kKeyboardInterrupt)})}));
}

/// RDPT and WRPT read the supported events and report one; Linux itself takes the port from _CRS.
Bytes panic_notifier() {
    return device("PEVT",
                  join({name("_HID", string("QEMU0001")), name("_UID", integer(0)),
                        name("_STA", integer(kPresentAndWorking)), crs({io(layout::kPortPvpanic, 1)}),
                        io_region("PEOR", layout::kPortPvpanic, 1), byte_field("PEOR", "PEPT"),
                        method("RDPT", 0, true, join({store(path("PEPT"), local(0)), give_back(local(0))})),
                        method("WRPT", 1, true, store(arg(0), path("PEPT")))}));
}

Bytes power_button() {
    return device("PWRB", join({name("_HID", eisa_id("PNP0C0C")), name("_UID", integer(0))}));
}

/// Microsoft, Virtual Machine Generation ID. ADDR: the lower and the upper half of the address.
Bytes generation_id() {
    return device("VGEN",
                  join({name("_HID", string("HAKO0001")), name("_UID", integer(0)),
                        name("_CID", string("VM_Gen_Counter")), name("_DDN", string("VM_Gen_Counter")),
                        method("ADDR", 0, false,
                               give_back(package({integer(layout::kGenerationId & 0xffffffff),
                                                  integer(layout::kGenerationId >> 32)})))}));
}

/// Generic Event Device (ACPI 6.3, 5.6.9): one interrupt, and a register that says why and is cleared by
/// reading.
Bytes event_device(const AcpiConfig& config) {
    const auto on = [](std::uint8_t event, const Bytes& action) {
        return if_then(bit_and(local(0), integer(event)), action);
    };
    Bytes slot_news;
    Bytes bus_news;
    for (std::uint16_t segment = 0; segment < config.pci_segments; ++segment) {
        const std::string bridge = "\\_SB." + bridge_name(segment);
        append(slot_news, path(bridge + ".PCNT"));
        append(bus_news, notify(bridge, kNotifyBusCheck));
    }
    Bytes actions =
        join({store(path("EVTS"), local(0)), on(kEventPowerButton, notify("\\_SB.PWRB", kNotifyPressed)),
              on(kEventPciSlots, slot_news), on(kEventPciBus, bus_news),
              on(kEventGeneration, notify("\\_SB.VGEN", kNotifyGeneration))});
    if (config.max_vcpus > 1) append(actions, on(kEventCpus, path("\\_SB.CPUN")));
    if (config.memory_hotplug) append(actions, on(kEventMemory, path("\\_SB.MEMN")));
    return device("GED0", join({name("_HID", string("ACPI0013")), name("_UID", integer(0)),
                                crs({edge_interrupt(layout::kIrqGed)}), io_region("EREG", kEventPort, 1),
                                byte_field("EREG", "EVTS"), method("_EVT", 1, true, actions)}));
}

/// Looks at a unit's status register, tells the guest what it says, and says that the guest was told.
Bytes unit_events(const std::string& status, const std::string& object) {
    const auto on = [&](std::uint32_t flag, std::uint8_t notification) {
        return if_then(bit_and(local(0), integer(flag)),
                       join({store(integer(flag), path(status)), notify(object, notification)}));
    };
    return join({store(path(status), local(0)), on(kUnitInserted, kNotifyDeviceCheck),
                 on(kUnitLeaving, kNotifyEjectRequest)});
}

/// _STA and _EJ0 of a unit that may come and go.
Bytes unit_methods(const std::string& status) {
    return join({method("_STA", 0, true,
                        join({if_then(bit_and(path(status), integer(kUnitEnabled)),
                                      give_back(integer(kPresentAndWorking))),
                              give_back(integer(0))})),
                 method("_EJ0", 1, true, store(integer(kUnitEject), path(status)))});
}

std::string processor_name(std::uint32_t index) {
    return fmt::format("C{:03X}", index);
}

std::string processor_status(std::uint32_t index) {
    return fmt::format("\\_SB.P{:03X}", index);
}

/// CPU 0 stays. _MAT is what the MADT will say of the CPU once it is there.
Bytes processor(std::uint32_t index, bool may_go) {
    Bytes body = join({name("_HID", string("ACPI0007")), name("_UID", integer(index))});
    if (may_go)
        append(body, join({unit_methods(processor_status(index)),
                           name("_MAT", buffer(local_apic(index, kLocalApicEnabled)))}));
    return device(processor_name(index), body);
}

/// CPUN tells the guest which CPUs came and which should go. The registers are devices/acpi/cpu_hotplug.h's.
Bytes processors(const AcpiConfig& config) {
    const std::uint32_t count = std::max(config.vcpus, config.max_vcpus);
    const bool hotplug = config.max_vcpus > 1;
    Bytes result;
    Bytes events;
    if (hotplug) {
        std::vector<std::string> registers;
        for (std::uint32_t i = 0; i < count; ++i)
            registers.push_back(fmt::format("P{:03X}", i));
        result = join({io_region("CREG", layout::kPortCpuHotplug, static_cast<std::uint16_t>(4 * count)),
                       dword_fields("CREG", registers)});
    }
    for (std::uint32_t i = 0; i < count; ++i) {
        append(result, processor(i, hotplug && i > 0));
        if (i > 0) append(events, unit_events(processor_status(i), processor_name(i)));
    }
    if (hotplug) append(result, method("CPUN", 0, true, events));
    return result;
}

/// A guest that cannot let go of a piece says so (_OST), any answer to an eject request but success and "in
/// progress".
Bytes memory_kept() {
    constexpr std::uint64_t kPending = 0x84;  // to 0x87
    return method(
        "_OST", 3, true,
        if_then(equal(arg(0), integer(kNotifyEjectRequest)),
                if_then(arg(1), if_then(logical_not(equal(bit_and(arg(1), integer(0xfc)), integer(kPending))),
                                        store(integer(kMemoryKept), path("MSTA"))))));
}

constexpr unsigned kMemoryPieces = 64;
constexpr std::uint16_t kMemoryStride = 16;

std::string memory_name(unsigned index) {
    return fmt::format("M{:03X}", index);
}

/// A piece of memory that may come and go; where and how large its registers say.
Bytes memory_device(unsigned index) {
    constexpr unsigned kUnitBits = 27;
    static_assert(std::uint64_t{1} << kUnitBits == layout::kMemoryUnit);
    const auto port = static_cast<std::uint16_t>(layout::kPortMemoryHotplug + index * kMemoryStride);
    const Bytes crs_method =
        method("_CRS", 0, true,
               join({qword_field(path("MRES"), kMemory64First, "MMIN"),
                     qword_field(path("MRES"), kMemory64Last, "MMAX"),
                     qword_field(path("MRES"), kMemory64Length, "MLEN"),
                     shift_left(path("MADR"), integer(kUnitBits), path("MMIN")),
                     shift_left(path("MSIZ"), integer(kUnitBits), path("MLEN")),
                     add(path("MMIN"), path("MLEN"), local(0)), subtract(local(0), integer(1), path("MMAX")),
                     give_back(path("MRES"))}));
    return device(memory_name(index),
                  join({name("_HID", eisa_id("PNP0C80")), name("_UID", integer(index)),
                        io_region("MREG", port, kMemoryStride),
                        dword_fields("MREG", std::array<std::string, 3>{"MSTA", "MADR", "MSIZ"}),
                        name("MRES", resource_template({memory64(0, layout::kMemoryUnit)})), crs_method,
                        unit_methods("MSTA"), memory_kept()}));
}

/// MEMN tells the guest which pieces came and which should go. The registers are
/// devices/acpi/memory_hotplug.h's.
Bytes memory_devices() {
    Bytes result;
    Bytes events;
    for (unsigned i = 0; i < kMemoryPieces; ++i) {
        append(result, memory_device(i));
        append(events, unit_events(fmt::format("\\_SB.{}.MSTA", memory_name(i)), memory_name(i)));
    }
    return join({result, method("MEMN", 0, true, events)});
}

}  // namespace

Bytes dsdt_body(const AcpiConfig& config) {
    Bytes devices = join({processors(config), pci_host_bridges(config), motherboard(config)});
    if (config.memory_hotplug) append(devices, memory_devices());
    if (config.serial) append(devices, serial_port());
    if (config.rtc) append(devices, clock(config.rtc_interrupt));
    if (config.i8042) append(devices, keyboard_controller());
    if (config.pvpanic) append(devices, panic_notifier());
    append(devices, join({power_button(), generation_id(), event_device(config)}));
    // _S5: the sleep type for soft off; the other three are for hardware that is not here (7.4.2).
    return join({scope("\\_SB", devices),
                 name("\\_S5", package({integer(kSleepTypeS5), integer(0), integer(0), integer(0)}))});
}

}  // namespace hako::acpi
