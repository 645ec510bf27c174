#include "vmm/boot/acpi/tables.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <span>
#include <string_view>

#include "vmm/boot/acpi/aml.h"
#include "vmm/boot/acpi/dsdt.h"
#include "vmm/boot/acpi/local_apic.h"
#include "vmm/memory/layout.h"

namespace hako::acpi {
namespace {

constexpr std::string_view kOemId = "HAKO  ";
constexpr std::string_view kOemTableId = "HAKOVM  ";
constexpr std::string_view kCreatorId = "HAKO";
constexpr std::size_t kHeaderSize = 36;
constexpr std::size_t kChecksumOffset = 9;
constexpr std::uint64_t kTableAlignment = 16;

// Table revisions of ACPI 6.3 (5.2.9, 5.2.12; DSDT 2: 64-bit integers).
constexpr std::uint8_t kFadtRevision = 6;
constexpr std::uint8_t kFadtMinor = 3;
constexpr std::uint8_t kMadtRevision = 5;
constexpr std::uint8_t kDsdtRevision = 2;

void append_text(Bytes& target, std::string_view text) {
    for (const char character : text)
        target.push_back(static_cast<std::byte>(character));
}

void append_zeros(Bytes& target, std::size_t count) {
    target.resize(target.size() + count);
}

void put(Bytes& bytes, std::size_t offset, std::uint64_t value, std::size_t width) {
    for (std::size_t i = 0; i < width; ++i)
        bytes.at(offset + i) = static_cast<std::byte>(value >> (8 * i));
}

/// The byte that makes the sum of `bytes` zero, where it is zero itself.
std::uint8_t checksum(std::span<const std::byte> bytes) {
    std::uint8_t sum = 0;
    for (const std::byte byte : bytes)
        sum = static_cast<std::uint8_t>(sum + std::to_integer<std::uint8_t>(byte));
    return static_cast<std::uint8_t>(-sum);
}

/// A table with its header (5.2.6) around `body`.
Bytes table(std::string_view signature, std::uint8_t revision, const Bytes& body) {
    Bytes result;
    append_text(result, signature);
    append(result, kHeaderSize + body.size(), 4);
    append(result, revision, 1);
    append(result, 0, 1);  // checksum
    append_text(result, kOemId);
    append_text(result, kOemTableId);
    append(result, 1, 4);  // OEM revision
    append_text(result, kCreatorId);
    append(result, 1, 4);  // creator revision
    append(result, body);
    put(result, kChecksumOffset, checksum(result), 1);
    return result;
}

/// Generic Address Structure (5.2.3.2) of a one-byte port.
Bytes byte_port(std::uint16_t port) {
    constexpr std::uint8_t kSystemIo = 1;
    constexpr std::uint8_t kByteAccess = 1;
    Bytes result;
    append(result, kSystemIo, 1);
    append(result, 8, 1);  // bits
    append(result, 0, 1);
    append(result, kByteAccess, 1);
    append(result, port, 8);
    return result;
}

/// 5.2.9. Hardware-reduced: there is no SCI, no PM timer, no fixed hardware but sleep and reset registers.
Bytes fadt(const AcpiConfig& config, GuestAddress dsdt) {
    // Offsets from the start of the table.
    constexpr std::size_t kProfile = 45;
    constexpr std::size_t kCentury = 108;
    constexpr std::size_t kBootFlags = 109;
    constexpr std::size_t kFlags = 112;
    constexpr std::size_t kResetRegister = 116;
    constexpr std::size_t kResetValueField = 128;
    constexpr std::size_t kMinor = 131;
    constexpr std::size_t kXDsdt = 140;
    constexpr std::size_t kSleepControl = 244;
    constexpr std::size_t kSleepStatus = 256;
    constexpr std::size_t kHypervisor = 268;
    constexpr std::size_t kSize = 276;

    constexpr std::uint8_t kEnterpriseServer = 4;
    constexpr std::uint8_t kCenturyByte = 0x32;  // in the RTC's memory, where PCs have it
    // IA-PC boot architecture flags (table 5-11).
    constexpr std::uint32_t kHas8042 = 1u << 1;
    constexpr std::uint32_t kNoVga = 1u << 2;
    constexpr std::uint32_t kNoRtc = 1u << 5;
    // Fixed feature flags (table 5-10): caches work as WBINVD wants; power and sleep button are not fixed
    // hardware.
    constexpr std::uint32_t kWbinvd = 1u << 0;
    constexpr std::uint32_t kNoFixedPowerButton = 1u << 4;
    constexpr std::uint32_t kNoFixedSleepButton = 1u << 5;
    constexpr std::uint32_t kResetRegisterSupported = 1u << 10;
    constexpr std::uint32_t kHardwareReduced = 1u << 20;

    Bytes body(kSize - kHeaderSize);
    const auto set = [&body](std::size_t offset, std::uint64_t value, std::size_t width) {
        put(body, offset - kHeaderSize, value, width);
    };
    const auto set_bytes = [&body](std::size_t offset, const Bytes& bytes) {
        std::ranges::copy(bytes, body.begin() + static_cast<std::ptrdiff_t>(offset - kHeaderSize));
    };
    set(kProfile, kEnterpriseServer, 1);
    if (config.rtc) set(kCentury, kCenturyByte, 1);
    set(kBootFlags, kNoVga | (config.i8042 ? kHas8042 : 0) | (config.rtc ? 0 : kNoRtc), 2);
    set(kFlags,
        kWbinvd | kNoFixedPowerButton | kNoFixedSleepButton | kResetRegisterSupported | kHardwareReduced, 4);
    set_bytes(kResetRegister, byte_port(layout::kPortReset));
    set(kResetValueField, kResetValue, 1);
    set(kMinor, kFadtMinor, 1);
    set(kXDsdt, dsdt.value, 8);
    set_bytes(kSleepControl, byte_port(layout::kPortPm));
    set_bytes(kSleepStatus, byte_port(layout::kPortPm + 1));
    Bytes vendor;
    append_text(vendor, "hako");
    set_bytes(kHypervisor, vendor);
    return table("FACP", kFadtRevision, body);
}

/// 5.2.12. The flag that says "there is a pair of 8259s too" is not set: hardware-reduced ACPI has no use for
/// them.
Bytes madt(const AcpiConfig& config) {
    // Interrupt controller structures.
    constexpr std::uint8_t kIoApicType = 1;
    constexpr std::uint8_t kLocalApicNmiType = 4;
    constexpr std::uint8_t kX2ApicNmiType = 10;
    constexpr std::uint8_t kNmiInput = 1;  // LINT1

    Bytes body;
    append(body, layout::kLocalApic, 4);
    append(body, 0, 4);
    const std::uint32_t count = std::max(config.vcpus, config.max_vcpus);
    for (std::uint32_t id = 0; id < count; ++id)
        append(body, local_apic(id, id < config.vcpus ? kLocalApicEnabled : kLocalApicOnlineCapable));
    append(body, kIoApicType, 1);
    append(body, 12, 1);
    append(body, 0, 1);  // id: what KVM's IOAPIC has in its register
    append(body, 0, 1);
    append(body, layout::kIoApic, 4);
    append(body, 0, 4);  // first global system interrupt
    append(body, kLocalApicNmiType, 1);
    append(body, 6, 1);
    append(body, 0xff, 1);  // all processors
    append(body, 0, 2);
    append(body, kNmiInput, 1);
    if (count > kFirstX2Apic) {
        append(body, kX2ApicNmiType, 1);
        append(body, 12, 1);
        append(body, 0, 2);
        append(body, 0xffffffff, 4);  // all processors
        append(body, kNmiInput, 1);
        append_zeros(body, 3);
    }
    return table("APIC", kMadtRevision, body);
}

/// PCI Firmware 3.2, 4.1.2.
Bytes mcfg(const AcpiConfig& config) {
    Bytes body;
    append_zeros(body, 8);
    for (std::uint16_t segment = 0; segment < config.pci_segments; ++segment) {
        append(body, layout::kEcam + segment * layout::kEcamSize, 8);
        append(body, segment, 2);
        append(body, 0, 1);                            // first bus
        append(body, layout::kEcamSize / MiB - 1, 1);  // last bus: 1 MiB each
        append_zeros(body, 4);
    }
    return table("MCFG", 1, body);
}

/// 5.2.5.3, revision 2.
Bytes rsdp(GuestAddress xsdt) {
    constexpr std::size_t kV1Size = 20;
    constexpr std::size_t kSize = 36;
    constexpr std::size_t kV1Checksum = 8;
    constexpr std::size_t kChecksum = 32;
    Bytes result;
    append_text(result, "RSD PTR ");
    append(result, 0, 1);
    append_text(result, kOemId);
    append(result, 2, 1);  // revision
    append(result, 0, 4);  // no RSDT
    append(result, kSize, 4);
    append(result, xsdt.value, 8);
    append_zeros(result, 4);
    put(result, kV1Checksum, checksum(std::span(result).first(kV1Size)), 1);
    put(result, kChecksum, checksum(result), 1);
    return result;
}

}  // namespace

Result<std::vector<AcpiTable>> build_tables(const AcpiConfig& config) {
    std::vector<AcpiTable> tables;
    GuestAddress next{layout::kAcpi};
    const auto place = [&](std::string name, Bytes bytes) {
        const GuestAddress address = next;
        next = {align_up(address.value + bytes.size(), kTableAlignment)};
        tables.push_back({std::move(name), address, std::move(bytes)});
        return address;
    };
    // The RSDP comes first and points at what follows, so its place is kept and filled in the end.
    place("RSDP", rsdp({}));
    const GuestAddress dsdt = place("DSDT", table("DSDT", kDsdtRevision, dsdt_body(config)));
    Bytes pointers;
    for (const GuestAddress address :
         {place("FACP", fadt(config, dsdt)), place("APIC", madt(config)), place("MCFG", mcfg(config))})
        append(pointers, address.value, 8);
    tables.front().bytes = rsdp(place("XSDT", table("XSDT", 1, pointers)));
    if (next.value > layout::kAcpiEnd)
        return fail_input(
            "the ACPI tables for {} CPUs take {} bytes, there is room for {}: give the guest fewer",
            config.vcpus, next.value - layout::kAcpi, layout::kAcpiEnd - layout::kAcpi);
    return tables;
}

Result<GuestAddress> write_tables(GuestMemory& memory, const AcpiConfig& config) {
    const std::vector<AcpiTable> tables = HAKO_TRY(build_tables(config));
    for (const AcpiTable& entry : tables)
        if (!memory.write(entry.address, entry.bytes))
            return fail_input("the ACPI tables do not fit into RAM: give the guest more (--memory)");
    return tables.front().address;
}

Result<> dump_tables(const std::vector<AcpiTable>& tables, const std::string& directory) {
    for (const AcpiTable& entry : tables) {
        const std::string path = fmt::format("{}/{}.dat", directory, entry.name);
        const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
        if (!file.valid()) return fail_errno(errno, "cannot create {}", path);
        const ssize_t written = ::write(file.get(), entry.bytes.data(), entry.bytes.size());
        if (written < 0) return fail_errno(errno, "cannot write {}", path);
        if (static_cast<std::size_t>(written) != entry.bytes.size())
            return fail_host("cannot write {}: the disk is full", path);
    }
    return {};
}

}  // namespace hako::acpi
