#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <regex>
#include <sstream>

#include "temp_dir.h"
#include "vmm/boot/acpi/aml.h"
#include "vmm/boot/acpi/tables.h"
#include "vmm/memory/layout.h"

using namespace hako;
using namespace hako::acpi;
using hako::testing::TempDir;

namespace {

AcpiConfig config(std::uint32_t vcpus = 2) {
    return {.vcpus = vcpus, .ram_end = GuestAddress{2 * GiB}};
}

std::vector<AcpiTable> tables(const AcpiConfig& of) {
    auto result = build_tables(of);
    REQUIRE_MESSAGE(result.has_value(), result.error().text());
    return *std::move(result);
}

const AcpiTable& find(const std::vector<AcpiTable>& all, std::string_view name) {
    const auto found = std::ranges::find(all, name, &AcpiTable::name);
    REQUIRE(found != all.end());
    return *found;
}

template <typename T>
T get(const std::vector<std::byte>& bytes, std::size_t offset) {
    T value{};
    REQUIRE(offset + sizeof(T) <= bytes.size());
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return value;
}

unsigned sum(std::span<const std::byte> bytes) {
    unsigned total = 0;
    for (const std::byte byte : bytes)
        total += std::to_integer<unsigned>(byte);
    return total & 0xff;
}

/// Runs a command; its output, and that it succeeded.
std::string run(const std::string& command) {
    std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
    REQUIRE(pipe != nullptr);
    std::string output;
    std::array<char, 4096> chunk{};
    while (const std::size_t count = std::fread(chunk.data(), 1, chunk.size(), pipe))
        output.append(chunk.data(), count);
    const int status = ::pclose(pipe);
    REQUIRE_MESSAGE(status == 0, command, "\n", output);
    return output;
}

/// iasl's own words for trouble, in any case: "Error    6084 -", "Warning  3115 -", "ACPI Warning:", "Invalid
/// …".
void check_clean(const std::string& output) {
    std::istringstream lines(output);
    for (std::string line; std::getline(lines, line);) {
        std::ranges::transform(line, line.begin(),
                               [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        // The compiler's summary counts them: "Compilation successful. 0 Errors, 0 Warnings, …".
        if (line.find("0 errors, 0 warnings") != std::string::npos) continue;
        for (const char* word : {"error", "warning", "invalid", "unknown", "could not"})
            CHECK_MESSAGE(line.find(word) == std::string::npos, output);
    }
}

std::string file_text(const std::filesystem::path& path) {
    std::ifstream in(path);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
}

/// Dumps the tables, disassembles all but the RSDP with iasl and gives the sources by table name.
std::map<std::string, std::string> disassemble(const TempDir& directory, const std::vector<AcpiTable>& all) {
    REQUIRE(dump_tables(all, directory.path().string()));
    std::map<std::string, std::string> sources;
    for (const AcpiTable& table : all) {
        // The RSDP has no table header, so iasl does not take it; its checksums are tested below.
        if (table.name == "RSDP") continue;
        const std::string file = (directory.path() / table.name).string();
        check_clean(run("iasl -d '" + file + ".dat'"));
        sources[table.name] = file_text(file + ".dsl");
        REQUIRE_FALSE(sources[table.name].empty());
    }
    return sources;
}

/// The MADT's structures by type.
std::map<unsigned, std::vector<std::vector<std::byte>>> madt_structures(const std::vector<std::byte>& madt) {
    std::map<unsigned, std::vector<std::vector<std::byte>>> structures;
    for (std::size_t at = 44; at < madt.size();) {
        const auto type = get<std::uint8_t>(madt, at);
        const auto length = get<std::uint8_t>(madt, at + 1);
        REQUIRE(length >= 2);
        REQUIRE(at + length <= madt.size());
        const auto begin = madt.begin() + static_cast<std::ptrdiff_t>(at);
        structures[type].emplace_back(begin, begin + length);
        at += length;
    }
    return structures;
}

}  // namespace

TEST_CASE("iasl disassembles every table without a complaint and compiles the DSDT again") {
    const AcpiConfig everything{
        .vcpus = 3, .ram_end = GuestAddress{200 * GiB}, .rtc_interrupt = true, .i8042 = true};
    const AcpiConfig least{
        .vcpus = 1, .ram_end = GuestAddress{16 * MiB}, .serial = false, .rtc = false, .pvpanic = false};
    const AcpiConfig growing{
        .vcpus = 1, .max_vcpus = 64, .memory_hotplug = true, .ram_end = GuestAddress{2 * GiB}};
    const AcpiConfig segments{.vcpus = 64,
                              .max_vcpus = 64,
                              .memory_hotplug = true,
                              .pci_segments = layout::kMaxPciSegments,
                              .ram_end = GuestAddress{2 * GiB}};
    for (const AcpiConfig& each : {config(1), config(2), config(64), everything, least, growing, segments}) {
        const TempDir directory;
        const auto all = tables(each);
        disassemble(directory, all);
        const std::string compiled = run("iasl -oa '" + (directory.path() / "DSDT.dsl").string() + "'");
        check_clean(compiled);
        // The same source gives the same bytes, so nothing was lost on the way (but the header's compiler
        // fields).
        const std::string again = file_text(directory.path() / "DSDT.aml");
        const auto& dsdt = find(all, "DSDT").bytes;
        REQUIRE(again.size() == dsdt.size());
        CHECK(std::memcmp(again.data() + 36, dsdt.data() + 36, dsdt.size() - 36) == 0);
    }
}

TEST_CASE("the DSDT names the devices at their addresses") {
    const TempDir directory;
    const std::string dsdt = disassemble(directory, tables(config(2)))["DSDT"];
    for (const char* part : {
             "PNP0A08",
             "PNP0C02",
             "PNP0501",
             "PNP0B00",
             "PNP0C0C",
             "\"QEMU0001\"",
             "\"ACPI0013\"",
             "Device (C001)",
             "Name (\\_S5, Package (0x04)",
             "Notify (\\_SB.PWRB, 0x80)",
             "0x0CF8,             // Range Minimum",  // PCI configuration ports
             "0x03F8,             // Range Minimum",  // COM1
             "0x0505,             // Range Minimum",  // pvpanic
             "0xC0000000,         // Range Minimum",  // 32-bit window
             "0xE7FFFFFF,         // Range Maximum",
             "0x0000001000000000, // Range Minimum",  // 64-bit window, at 64 GiB
             "0x0000001FFFFFFFFF, // Range Maximum",
             "0xE8000000,         // Address Base",  // ECAM
             "OperationRegion (EREG, SystemIO, 0x0603, One)",
             "OperationRegion (HREG, SystemIO, 0x0610, 0x0C)",
             "Device (S01)",
             "Name (_ADR, 0x001F0000)",  // slot 31
             "PCIE = 0x80000000",
             "Notify (S1F, 0x03)",
             "\\_SB.PCI0.PCNT ()",
             "Notify (\\_SB.PCI0, Zero)",
             "Notify (\\_SB.VGEN, 0x80)",
             "\"VM_Gen_Counter\"",
             "Method (ADDR, 0, NotSerialized)",
             "0x000FE008",
             "33db4d5b-1ff7-401c-9657-7441c03dd766",
         })
        CHECK_MESSAGE(dsdt.find(part) != std::string::npos, std::string(part), " is not in\n", dsdt);
    // Every interrupt is edge-triggered: COM1 and the event device.
    std::size_t edges = 0;
    for (std::size_t at = 0; (at = dsdt.find("Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive",
                                             at)) != std::string::npos;
         ++at)
        ++edges;
    CHECK(edges == 2);
    CHECK(std::regex_search(dsdt, std::regex(R"(Name \(\\_S5, Package \(0x04\)[^{]*\{\s*0x05,)")));
    CHECK(dsdt.find("Device (C002)") == std::string::npos);
    CHECK(dsdt.find("PNP0303") == std::string::npos);
    CHECK(dsdt.find("_PRT") == std::string::npos);
}

TEST_CASE("CPUs that may come are in the DSDT and, not yet there, in the MADT") {
    const TempDir directory;
    const auto all = tables({.vcpus = 2, .max_vcpus = 4, .ram_end = GuestAddress{2 * GiB}});
    const std::string dsdt = disassemble(directory, all)["DSDT"];
    for (const char* part : {
             "OperationRegion (CREG, SystemIO, 0x0700, 0x10)",
             "Device (C003)",
             "Notify (C003, One)",
             "Notify (C003, 0x03)",
             "\\_SB.P003 = 0x08",
             "\\_SB.CPUN ()",
             "0x00, 0x08, 0x03, 0x03, 0x01, 0x00, 0x00, 0x00",  // _MAT of CPU 3
         })
        CHECK_MESSAGE(dsdt.find(part) != std::string::npos, std::string(part), " is not in\n", dsdt);
    // CPU 0 stays.
    CHECK(dsdt.find("Notify (C000") == std::string::npos);
    const auto cpus = madt_structures(find(all, "APIC").bytes)[0];
    REQUIRE(cpus.size() == 4);
    for (std::size_t i = 0; i < cpus.size(); ++i)
        CHECK(get<std::uint32_t>(cpus[i], 4) == (i < 2 ? 1 : 2));
}

TEST_CASE("memory that may come is in the DSDT") {
    const TempDir directory;
    const std::string dsdt = disassemble(
        directory, tables({.vcpus = 1, .memory_hotplug = true, .ram_end = GuestAddress{2 * GiB}}))["DSDT"];
    for (const char* part : {
             "PNP0C80",
             "Device (M03F)",
             "OperationRegion (MREG, SystemIO, 0x0BF0, 0x10)",
             "Notify (M03F, One)",
             "Notify (M03F, 0x03)",
             "\\_SB.MEMN ()",
             "MSTA = 0x08",
             "Method (_OST, 3, Serialized)",
             "MSTA = 0x10",
         })
        CHECK_MESSAGE(dsdt.find(part) != std::string::npos, std::string(part), " is not in\n", dsdt);
}

TEST_CASE("the 64-bit PCI window starts above RAM, however much that is") {
    for (const auto& [ram_end, start] : {std::pair{2 * GiB, 64 * GiB},
                                         {64 * GiB, 64 * GiB},
                                         {64 * GiB + MiB, 65 * GiB},
                                         {1025 * GiB, 1025 * GiB}}) {
        CHECK(layout::mmio64_base(ram_end) == start);
        const TempDir directory;
        const std::string dsdt =
            disassemble(directory, tables({.vcpus = 1, .ram_end = GuestAddress{ram_end}}))["DSDT"];
        CHECK(dsdt.find(fmt::format("0x{:016X}, // Range Minimum", start)) != std::string::npos);
    }
}

TEST_CASE("devices that are not there are not in the DSDT") {
    const TempDir directory;
    const auto all =
        tables({.vcpus = 1, .ram_end = GuestAddress{GiB}, .serial = false, .rtc = false, .pvpanic = false});
    const std::string dsdt = disassemble(directory, all)["DSDT"];
    for (const char* part : {"PNP0501", "PNP0B00", "QEMU0001"})
        CHECK_MESSAGE(dsdt.find(part) == std::string::npos, std::string(part));
    constexpr std::uint16_t kNoRtc = 1 << 5;
    CHECK((get<std::uint16_t>(find(all, "FACP").bytes, 109) & kNoRtc) != 0);
}

TEST_CASE("lengths and checksums are right, and each table is where the one before it says") {
    for (const std::uint32_t count : {1u, 2u, 64u}) {
        const auto all = tables(config(count));
        const auto& rsdp = all.front();
        CHECK(rsdp.name == "RSDP");
        CHECK(rsdp.address == GuestAddress{layout::kAcpi});
        CHECK(sum(std::span(rsdp.bytes).first(20)) == 0);
        CHECK(sum(rsdp.bytes) == 0);
        CHECK(get<std::uint8_t>(rsdp.bytes, 15) == 2);
        CHECK(std::memcmp(rsdp.bytes.data(), "RSD PTR ", 8) == 0);

        std::map<std::uint64_t, std::string> at;
        std::uint64_t end = layout::kAcpi + rsdp.bytes.size();
        for (const AcpiTable& table : std::span(all).subspan(1)) {
            CAPTURE(table.name);
            CHECK(sum(table.bytes) == 0);
            CHECK(get<std::uint32_t>(table.bytes, 4) == table.bytes.size());
            CHECK(std::memcmp(table.bytes.data(), table.name.data(), 4) == 0);
            CHECK(table.address.value >= end);  // no overlap
            end = table.address.value + table.bytes.size();
            at[table.address.value] = table.name;
        }
        CHECK(end <= layout::kAcpiEnd);

        const auto& xsdt = find(all, "XSDT").bytes;
        CHECK(at[get<std::uint64_t>(rsdp.bytes, 24)] == "XSDT");
        REQUIRE(xsdt.size() == 36 + 3 * 8);
        CHECK(at[get<std::uint64_t>(xsdt, 36)] == "FACP");
        CHECK(at[get<std::uint64_t>(xsdt, 44)] == "APIC");
        CHECK(at[get<std::uint64_t>(xsdt, 52)] == "MCFG");
        CHECK(at[get<std::uint64_t>(find(all, "FACP").bytes, 140)] == "DSDT");
    }
}

TEST_CASE("the FADT is hardware-reduced and tells where to sleep and reset") {
    const TempDir directory;
    const auto all = tables(config());
    const auto& fadt = find(all, "FACP").bytes;
    CHECK(fadt.size() == 276);
    CHECK(get<std::uint8_t>(fadt, 8) == 6);
    CHECK((get<std::uint32_t>(fadt, 112) & (1u << 20 | 1u << 10 | 1u << 4)) ==
          (1u << 20 | 1u << 10 | 1u << 4));
    const std::string source = disassemble(directory, all)["FACP"];
    for (const char* part : {"0000000000000602", "0000000000000600", "0000000000000601",
                             "Hardware Reduced (V5) : 1", "VGA Not Present (V4) : 1"})
        CHECK_MESSAGE(source.find(part) != std::string::npos, std::string(part), " is not in\n", source);
    CHECK(get<std::uint64_t>(fadt, 120) == layout::kPortPm + 2u);  // address of RESET_REG
    CHECK(get<std::uint8_t>(fadt, 128) == kResetValue);
    CHECK(get<std::uint8_t>(fadt, 108) == 0x32);  // the RTC's century byte
}

TEST_CASE("the MADT has an entry for each CPU, one IOAPIC and the NMI input") {
    for (const std::uint32_t count : {1u, 2u, 64u}) {
        CAPTURE(count);
        const auto all = tables(config(count));
        const auto structures = madt_structures(find(all, "APIC").bytes);
        REQUIRE(structures.at(0).size() == count);
        for (std::uint32_t i = 0; i < count; ++i) {
            const auto& local = structures.at(0)[i];
            CHECK(get<std::uint8_t>(local, 2) == i);
            CHECK(get<std::uint8_t>(local, 3) == i);
            CHECK(get<std::uint32_t>(local, 4) == 1);
        }
        REQUIRE(structures.at(1).size() == 1);
        CHECK(get<std::uint32_t>(structures.at(1)[0], 4) == layout::kIoApic);
        CHECK(structures.at(4).size() == 1);
        CHECK(structures.count(9) == 0);
        CHECK(get<std::uint32_t>(find(all, "APIC").bytes, 40) == 0);  // no 8259
    }
}

TEST_CASE("the MCFG tells of ECAM for the one bus there is") {
    const auto all = tables(config());
    const auto& mcfg = find(all, "MCFG").bytes;
    REQUIRE(mcfg.size() == 60);
    CHECK(get<std::uint64_t>(mcfg, 44) == layout::kEcam);
    CHECK(get<std::uint16_t>(mcfg, 52) == 0);  // segment
    CHECK(get<std::uint8_t>(mcfg, 54) == 0);   // first bus
    CHECK(get<std::uint8_t>(mcfg, 55) == 0);   // last bus
}

TEST_CASE("each PCI segment has its ECAM, its host bridge and its slots") {
    const TempDir directory;
    const auto all = tables({.vcpus = 1, .pci_segments = 3, .ram_end = GuestAddress{2 * GiB}});
    const auto& mcfg = find(all, "MCFG").bytes;
    REQUIRE(mcfg.size() == 44 + 3 * 16);
    for (std::uint16_t segment = 0; segment < 3; ++segment) {
        const std::size_t at = 44 + segment * std::size_t{16};
        CHECK(get<std::uint64_t>(mcfg, at) == layout::kEcam + segment * layout::kEcamSize);
        CHECK(get<std::uint16_t>(mcfg, at + 8) == segment);
        CHECK(get<std::uint16_t>(mcfg, at + 10) == 0);  // first and last bus
    }
    const std::string dsdt = disassemble(directory, all)["DSDT"];
    for (const char* part : {
             "Device (PCI0)",
             "Device (PCI2)",
             "Name (_SEG, 0x02)",
             "Name (_SUN, 0x5F)",  // slot 31 of the last: slots have numbers of their own
             "Name (_UID, 0x02)",
             "0x00300000,         // Address Length",  // of ECAM
             "0xC0000000,         // Range Minimum",   // a third of each window
             "0xCD500000,         // Range Minimum",
             "0xDAA00000,         // Range Minimum",
             "0x0000001000000000, // Range Minimum",
             "0x0000001555500000, // Range Minimum",
             "0x0000001AAAA00000, // Range Minimum",
             "OperationRegion (HREG, SystemIO, 0x0610, 0x0C)",
             "OperationRegion (HREG, SystemIO, 0x0D00, 0x0C)",
             "OperationRegion (HREG, SystemIO, 0x0D10, 0x0C)",
             "\\_SB.PCI0.PCNT ()",
             "\\_SB.PCI2.PCNT ()",
             "Notify (\\_SB.PCI2, Zero)",
         })
        CHECK_MESSAGE(dsdt.find(part) != std::string::npos, std::string(part), " is not in\n", dsdt);
    // The old ports are those of the first.
    const std::size_t ports = dsdt.find("0x0CF8,             // Range Minimum");
    CHECK(dsdt.find("0x0CF8,             // Range Minimum", ports + 1) == std::string::npos);
}

TEST_CASE("CPUs from 255 on have x2APIC entries") {
    const auto all = tables(config(300));
    const auto structures = madt_structures(find(all, "APIC").bytes);
    CHECK(structures.at(0).size() == 255);
    REQUIRE(structures.at(9).size() == 45);
    CHECK(get<std::uint32_t>(structures.at(9)[0], 4) == 255);
    CHECK(get<std::uint32_t>(structures.at(9)[0], 12) == 255);
    const TempDir directory;
    disassemble(directory, all);
}

TEST_CASE("more CPUs than the table area has room for are refused") {
    const auto result = build_tables(config(5000));
    REQUIRE_FALSE(result);
    CHECK(result.error().fault() == Fault::kInput);
}

TEST_CASE("the tables are written where the RSDP says") {
    auto memory = GuestMemory::create({.size = 4 * MiB, .thp = false});
    REQUIRE(memory);
    const AcpiConfig of{.vcpus = 64, .ram_end = memory->end()};
    const auto rsdp = write_tables(*memory, of);
    REQUIRE(rsdp);
    CHECK(*rsdp == GuestAddress{layout::kAcpi});
    for (const AcpiTable& table : tables(of)) {
        const auto bytes = memory->readable(table.address, table.bytes.size());
        REQUIRE(bytes);
        CHECK(std::ranges::equal(*bytes, table.bytes));
    }
}

TEST_CASE("a directory that is not there is the host's error") {
    const auto result = dump_tables(tables(config()), "/nonexistent");
    REQUIRE_FALSE(result);
    CHECK(result.error().fault() == Fault::kHost);
}

TEST_CASE("package lengths take one byte to 63, two to 4095, three beyond") {
    // Each counts itself: 0x11 (Buffer), the length, then content.
    const auto length_bytes = [](std::size_t content) {
        const acpi::Bytes encoded = aml::scope("\\", acpi::Bytes(content));
        return encoded.size() - 1 - 2 - content;  // but ScopeOp and the root's name
    };
    CHECK(length_bytes(60) == 1);
    CHECK(length_bytes(61) == 2);
    CHECK(length_bytes(4091) == 2);
    CHECK(length_bytes(4092) == 3);
    const acpi::Bytes encoded = aml::scope("\\", acpi::Bytes(4091));
    CHECK(std::to_integer<unsigned>(encoded[1]) == 0x4f);  // one more byte, low nibble 0xf
    CHECK(std::to_integer<unsigned>(encoded[2]) == 0xff);
}
