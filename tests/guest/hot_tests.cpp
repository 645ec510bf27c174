// A guest that grants whatever it is asked for: the guest's side of ACPI hotplug, without ACPI's bytecode.
#include "balloon.h"
#include "tests.h"

namespace guest {
namespace {

// devices/acpi/pci_hotplug.h
constexpr std::uint16_t kPciPort = 0x610;
constexpr std::uint16_t kPciLeaving = 4;
constexpr std::uint16_t kPciEject = 8;
// devices/acpi/cpu_hotplug.h
constexpr std::uint16_t kCpuPort = 0x700;
constexpr std::uint16_t kCpus = 4;
constexpr std::uint32_t kInserted = 1 << 1;
constexpr std::uint32_t kLeaving = 1 << 2;
constexpr std::uint32_t kEject = 1 << 3;

constexpr std::uint64_t kPages = 256;

void answer_slots() {
    in32(kPciPort);
    if (const std::uint32_t leaving = in32(kPciPort + kPciLeaving); leaving != 0)
        out32(kPciPort + kPciEject, leaving);
}

/// None is ever started.
void answer_cpus() {
    for (std::uint16_t cpu = 1; cpu < kCpus; ++cpu) {
        const auto port = static_cast<std::uint16_t>(kCpuPort + 4 * cpu);
        const std::uint32_t status = in32(port);
        if (status == kNothing) return;
        if ((status & kInserted) != 0) out32(port, kInserted);
        if ((status & kLeaving) == 0) continue;
        out32(port, kLeaving);
        out32(port, kEject);
    }
}

/// `balloon`: null if there is none.
[[noreturn]] void grant_all(Balloon* balloon) {
    count(kPages, 0);
    for (std::uint64_t round = 1;; ++round) {
        answer_slots();
        answer_cpus();
        answer_memory(false);
        if (balloon != nullptr) balloon->resize(balloon->wanted());
        count(kPages, round);
        say_round(round);
    }
}

}  // namespace

/// Lets go of devices, CPUs and memory as it is asked, follows its balloon's size if it has one, and counts
/// in memory meanwhile, for ever. Says each round.
void test_hot() {
    enable_apic();
    const int slot = pci_find(0x1af4, 0x1045);
    if (slot < 0) grant_all(nullptr);
    Balloon balloon(slot);
    grant_all(&balloon);
}

}  // namespace guest
