// Machines saved and built again in one process, around the bare-metal guest of this folder. Needs KVM.
//
// restore-host GUEST [doctest options]
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <fstream>
#include <string>

#include "tests/guest/mailbox.h"
#include "tests/guest/restore_vm.h"
#include "vmm/base/log.h"
#include "vmm/memory/layout.h"
#include "vmm/state/difference.h"

using namespace hako;

namespace {

using test::copy_of;
using test::recoded;
using test::value_of;

std::string guest_path;

constexpr std::uint64_t kSectors = 64;
constexpr auto kLimit = std::chrono::seconds(60);

MachineConfig probe_config(const test::TempImage& image, std::uint32_t cpus,
                           const std::string& test = "restore") {
    MachineConfig config;
    config.payload = {.kernel = guest_path, .initrd = {}, .command_line = "test=" + test};
    config.cpus.count = cpus;
    config.memory.size = 64 * MiB;
    virtio::blk::Config disk;
    disk.id = "disk0";
    disk.path = image.path();
    config.disks = {disk};
    virtio::console::Config console;
    console.id = "console0";
    console.console = {.mode = console::Mode::kFile, .path = "/dev/null"};
    config.consoles = {console};
    seed::Config seed;
    seed.user_data = "#cloud-config\n";
    config.helpers.push_back(seed::make_seed(seed).value());
    return config;
}

struct Disk {
    Disk() {
        std::string sectors(kSectors * 512, '\0');
        for (std::uint64_t sector = 0; sector < kSectors; ++sector)
            sectors[sector * 512] = static_cast<char>(guest::sector_mark(sector));
        std::ofstream(image.path(), std::ios::binary) << sectors;
    }
    test::TempImage image{kSectors * 512};
};

/// A VM with the bare-metal guest in it.
class ProbeVm : private Disk, public test::Vm {
  public:
    explicit ProbeVm(std::uint32_t cpus = 2, const std::string& test = "restore")
        : Vm(probe_config(image, cpus, test), kLimit) {}

    [[nodiscard]] guest::Mailbox mail() {
        return machine().memory().load<guest::Mailbox>(GuestAddress{guest::kMailbox}).value();
    }
    /// Waits until the guest has done `count` more rounds.
    void wait_for_rounds(std::uint64_t count) {
        const std::uint64_t wanted = mail().rounds + count;
        wait_until([&] { return mail().rounds >= wanted; });
    }
    void stop_guest() {
        guest::Mailbox mail = this->mail();
        mail.stop = config().cpus.count;
        REQUIRE(machine().memory().store(GuestAddress{guest::kMailbox}, mail));
    }
};

bool same_memory(const GuestMemory& a, const GuestMemory& b) {
    for (std::size_t i = 0; i < a.regions().size(); ++i)
        if (std::memcmp(a.regions()[i].host, b.regions()[i].host, a.regions()[i].size) != 0) return false;
    return true;
}

std::string lines(const std::vector<std::string>& all) {
    std::string text;
    for (const std::string& line : all)
        text += line + "\n";
    if (!text.empty()) MESSAGE(text);
    return text;
}

/// What a restored machine that has not run yet must have in common with the one it comes from.
void check_same(const MachineState& saved, const MachineState& restored) {
    CHECK(saved.facts == restored.facts);
    CHECK(saved.platform == restored.platform);
    CHECK(saved.bridge == restored.bridge);
    CHECK(saved.disks == restored.disks);
    CHECK(saved.rngs == restored.rngs);
    CHECK(saved.consoles == restored.consoles);
    CHECK(saved.gone_disks == restored.gone_disks);
    CHECK(lines(state::differences(saved.irqchip, restored.irqchip)).empty());
    CHECK(restored.clock.guest >= saved.clock.guest);
    REQUIRE(saved.cpus.size() == restored.cpus.size());
    // vCPUs that agreed on the time still do: else KVM gives up the clock page that they share.
    CHECK(restored.cpus.front().tsc_offset == restored.cpus.back().tsc_offset);
    for (std::size_t i = 0; i < saved.cpus.size(); ++i) {
        // What counts time is not at rest.
        kvm::VcpuState before = saved.cpus[i];
        kvm::VcpuState after = restored.cpus[i];
        constexpr std::size_t kTimerCount = 0x390;
        std::memset(before.lapic.data() + kTimerCount, 0, 4);
        std::memset(after.lapic.data() + kTimerCount, 0, 4);
        before.tsc_offset = after.tsc_offset = std::nullopt;
        const auto is_time = [](const kvm::Msr& msr) { return msr.index == 0x10 || msr.index == 0x6e0; };
        std::erase_if(before.msrs, is_time);
        std::erase_if(after.msrs, is_time);
        CHECK(lines(state::differences(before, after)).empty());
    }
}

std::string refusal(test::Vm& vm, const MachineConfig& config, const MachineState& state) {
    auto memory = GuestMemory::create(config.memory);
    const auto made =
        Machine::create(config, value_of(HostResources::open(config)), vm.host(), vm.listener(),
                        Machine::Restored{.state = state, .memory = value_of(std::move(memory))});
    REQUIRE_FALSE(made);
    CHECK(made.error().fault() == Fault::kInput);
    return made.error().text();
}

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

void go_on_for_generations(ProbeVm& vm) {
    for (int generation = 0; generation < 100; ++generation) {
        vm.wait_for_rounds(1);
        const MachineState saved = vm.next();
        check_same(saved, value_of(vm.machine().save()));
        vm.machine().resume();
    }
}

void end_well(ProbeVm& vm, std::string_view test) {
    vm.stop_guest();
    const auto end = vm.wait_for_end();
    vm.end();
    INFO(vm.output());
    REQUIRE(end);
    CHECK(end->kind == MachineEnd::Kind::kPowerOff);
    CHECK(contains(vm.output(), fmt::format("PASS: {}\n", test)));
}

}  // namespace

TEST_CASE("a machine goes on in a new one, over generations") {
    ProbeVm vm;
    vm.boot();
    vm.machine().resume();
    CHECK_FALSE(vm.machine().save());  // it runs
    go_on_for_generations(vm);
    while (vm.mail().timers == 0)
        vm.wait_for_rounds(1);
    end_well(vm, "restore");
}

TEST_CASE("a 32-bit guest with PAE paging goes on, over generations") {
    ProbeVm vm(1, "restore-pae");
    vm.boot();
    vm.machine().resume();
    go_on_for_generations(vm);
    end_well(vm, "restore-pae");
}

TEST_CASE("memory is not touched until the machine goes on") {
    ProbeVm vm(1);
    vm.boot();
    vm.machine().resume();
    vm.wait_for_rounds(1);
    vm.machine().pause();
    const MachineState saved = value_of(vm.machine().save());
    const GuestMemory before = copy_of(vm.machine().memory());
    vm.restore(saved, copy_of(before), vm.end());
    CHECK(same_memory(before, vm.machine().memory()));
    vm.machine().resume();
    vm.stop_guest();
    CHECK(vm.wait_for_end().has_value());
}

TEST_CASE("the generation ID stays, or is a new one that the guest is told of") {
    ProbeVm vm(1);
    vm.boot();
    const auto in_memory = [&] {
        return vm.machine()
            .memory()
            .load<std::array<std::uint8_t, 16>>(GuestAddress{layout::kGenerationId})
            .value();
    };
    const auto first = value_of(vm.machine().save()).platform.generation;
    REQUIRE(first);
    CHECK(in_memory() == first->id);
    vm.machine().resume();
    vm.wait_for_rounds(1);

    vm.next();
    vm.machine().resume();
    CHECK(in_memory() == first->id);
    vm.wait_for_rounds(1);

    vm.next([](MachineState& state) { REQUIRE(renew_generation(state.platform)); });
    CHECK(in_memory() == first->id);  // memory is not touched yet
    const PlatformState renewed = value_of(vm.machine().save()).platform;
    CHECK(renewed.generation != first);
    CHECK(renewed.power.events == acpi_pm::kEventGeneration);
    // One that never ran is saved again: what it is to see is not lost.
    vm.next();
    vm.machine().resume();
    CHECK(in_memory() == renewed.generation->id);
    vm.wait_for_rounds(1);

    // As an older hako saved it.
    vm.next([](MachineState& state) { state.platform.generation.reset(); });
    vm.machine().resume();
    vm.wait_for_rounds(1);
    vm.machine().pause();
    CHECK_FALSE(value_of(vm.machine().save()).platform.generation);
    vm.machine().resume();
    vm.stop_guest();
    CHECK(vm.wait_for_end().has_value());
    // Another boot is another VM.
    vm.end();
    vm.boot();
    CHECK(value_of(vm.machine().save()).platform.generation != first);
}

TEST_CASE("a machine that never ran, and one that was never resumed, can be saved") {
    ProbeVm vm(1);
    vm.boot();
    const MachineState first = recoded(value_of(vm.machine().save()));
    GuestMemory once = copy_of(vm.machine().memory());
    vm.restore(first, std::move(once), vm.end());
    const MachineState second = recoded(value_of(vm.machine().save()));
    check_same(first, second);
    GuestMemory twice = copy_of(vm.machine().memory());
    vm.restore(second, std::move(twice), vm.end());
    vm.machine().resume();
    vm.wait_for_rounds(1);
    vm.stop_guest();
    CHECK(vm.wait_for_end().has_value());
}

TEST_CASE("devices that came late, or are on their way out, go on so") {
    const test::TempImage first(1 * MiB);
    const test::TempImage second(1 * MiB);
    const auto disk = [](const char* id, const test::TempImage& image) {
        virtio::blk::Config config;
        config.id = id;
        config.path = image.path();
        return config;
    };
    ProbeVm vm(1);
    vm.boot();
    vm.machine().resume();
    vm.wait_for_rounds(1);
    const pci::Bdf late = value_of(vm.machine().add_disk(disk("late", first)));
    const pci::Bdf leaving = value_of(vm.machine().add_disk(disk("leaving", second)));
    REQUIRE(vm.machine().request_removal("leaving"));
    const MachineState saved = vm.next();
    CHECK(saved.platform.hotplug.inserted == (1U << late.device | 1U << leaving.device));
    CHECK(saved.platform.hotplug.asked == 1U << leaving.device);
    check_same(saved, value_of(vm.machine().save()));
    CHECK(value_of(vm.machine().devices().address("late")) == late);

    // The guest has let go of it, and nobody has taken it out before the state was taken.
    const auto ejected = [](MachineState& state) { state.platform.hotplug.asked = 0; };
    vm.next(ejected);
    CHECK(vm.listener().ejected() == 0);
    vm.machine().resume();
    CHECK(vm.listener().ejected() == 1U << leaving.device);
    vm.machine().finish_removal(leaving);
    CHECK_FALSE(vm.machine().devices().has("leaving"));

    // Taken away by force: the guest goes on seeing it.
    REQUIRE(vm.machine().remove_now("late"));
    const MachineState without = vm.next();
    REQUIRE(without.gone_disks.size() == 1);
    CHECK(without.gone_disks[0].slot == late.device);
    check_same(without, value_of(vm.machine().save()));
    vm.machine().resume();
    vm.wait_for_rounds(1);
    vm.stop_guest();
    CHECK(vm.wait_for_end().has_value());
}

TEST_CASE("what waits for the guest to let go of something waits in the next machine") {
    std::array<int, 2> wire{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, wire.data()) == 0);
    const Fd ours(wire[0]);
    const Fd theirs(wire[1]);
    ProbeVm vm(1);
    MachineConfig config = vm.config();
    virtio::net::Config net;
    net.id = "lan";
    net.fds = {ours.get()};
    net.mac = virtio::net::Mac{2, 0, 0, 0, 0, 1};
    config.nets = {net};
    vm.set_config(config);
    vm.boot();
    vm.machine().resume();
    vm.wait_for_rounds(1);

    constexpr virtio::net::Mac kNext{2, 0, 0, 0, 0, 2};
    const seed::Helper next = seed::make_seed({.user_data = "", .instance_id = "next"}).value();
    REQUIRE(vm.machine().replace_helper(next, false));
    REQUIRE(vm.machine().replace_net("lan", kNext));
    CHECK_FALSE(vm.machine().replace_net("disk0", kNext));
    CHECK_FALSE(vm.machine().replace_net("nobody", kNext));
    const pci::Bdf seed_slot = value_of(vm.machine().devices().address(seed::kSeedId));
    const pci::Bdf net_slot = value_of(vm.machine().devices().address("lan"));

    const auto go_on = [&] {
        vm.machine().pause();
        MachineConfig waiting = vm.machine().config();
        const MachineState saved = recoded(value_of(vm.machine().save()));
        GuestMemory memory = copy_of(vm.machine().memory());
        HostResources resources = vm.end();
        // Another boot has them at once.
        CHECK(vm.config().nets[0].mac == kNext);
        CHECK(vm.config().helpers[0].image->checksum == next.image->checksum);
        CHECK(vm.config().coming.empty());
        vm.set_config(std::move(waiting));
        vm.restore(saved, std::move(memory), std::move(resources));
        return saved;
    };
    const MachineState saved = go_on();
    CHECK(saved.nets[0].device.mac == net.mac);
    CHECK_FALSE(saved.nets[0].device.link_up);
    check_same(saved, value_of(vm.machine().save()));
    CHECK(vm.machine().config().nets[0].mac == net.mac);
    CHECK(vm.machine().config().coming.macs == std::vector{NewMac{.id = "lan", .mac = kNext}});
    vm.machine().resume();
    vm.wait_for_rounds(1);

    // The guest lets go.
    CHECK(vm.machine().finish_removal(net_slot));
    CHECK(vm.machine().finish_removal(seed_slot));
    CHECK_FALSE(vm.machine().finish_removal(net_slot));
    CHECK(vm.machine().config().coming.empty());
    CHECK(vm.machine().config().nets[0].mac == kNext);
    CHECK(vm.machine().config().helpers[0].image->checksum == next.image->checksum);
    CHECK(value_of(vm.machine().devices().address("lan")) == net_slot);
    const MachineState after = go_on();
    CHECK(after.nets[0].device.mac == kNext);
    CHECK(after.nets[0].device.link_up);
    CHECK((after.platform.hotplug.inserted >> net_slot.device & 1) == 1);
    vm.machine().resume();
    vm.wait_for_rounds(1);
    vm.stop_guest();
    CHECK(vm.wait_for_end().has_value());
}

TEST_CASE("memory that has grown goes along, and so does that some is to go") {
    const test::TempImage image(kSectors * 512);
    MachineConfig config = probe_config(image, 1);
    config.payload.command_line = "test=dirty";  // it does not answer
    config.memory.room = GiB;
    test::Vm vm(std::move(config), kLimit);
    vm.boot();
    const std::uint64_t least = 64 * MiB;
    const GuestAddress room{layout::memory_room(least)};
    const std::uint64_t mark = 0x6d61726b;
    CHECK_FALSE(vm.machine().resize_memory(least + 64 * MiB));
    CHECK_FALSE(vm.machine().resize_memory(least + 2 * GiB));
    REQUIRE(vm.machine().resize_memory(least + 256 * MiB));
    CHECK(vm.machine().memory_bytes() == least + 256 * MiB);
    REQUIRE(vm.machine().memory().store(room + (256 * MiB - 8), mark));

    const MachineState saved = vm.next();
    CHECK(saved.platform.memory_hotplug->pieces.size() == 2);
    check_same(saved, value_of(vm.machine().save()));
    CHECK(vm.machine().memory().load<std::uint64_t>(room + (256 * MiB - 8)) == mark);
    vm.machine().resume();

    REQUIRE(vm.machine().resize_memory(least + 128 * MiB));
    const MachineState asked = vm.next();
    CHECK(asked.platform.memory_hotplug->units.asked == 2);
    check_same(asked, value_of(vm.machine().save()));
    CHECK(vm.machine().config().memory.plugged == 256 * MiB);
    vm.machine().resume();
    const auto more = vm.machine().resize_memory(least + 256 * MiB);
    REQUIRE_FALSE(more);
    CHECK(more.error().fault() == Fault::kBusy);
    CHECK(vm.machine().resize_memory(least + 128 * MiB));
    // Nobody asked for it, or it is still there.
    CHECK_FALSE(vm.machine().finish_memory_removal(1));
    CHECK_FALSE(vm.machine().finish_memory_removal(70));

    MachineState bad = asked;
    bad.platform.memory_hotplug->pieces[1].size = 256 * MiB;
    const MachineConfig grown = vm.machine().config();
    vm.end();
    CHECK(contains(refusal(vm, grown, bad), "a piece of memory was saved at"));
    bad = asked;
    bad.platform.memory_hotplug->units.enabled |= 4;
    CHECK(contains(refusal(vm, grown, bad), "more pieces of memory"));
}

TEST_CASE("a state for another machine, or another CPU, is refused with the reason") {
    ProbeVm vm(1);
    vm.boot();
    const MachineState good = value_of(vm.machine().save());
    vm.end();
    const MachineConfig config = vm.config();

    MachineConfig other = config;
    other.memory.size = 128 * MiB;
    CHECK(contains(refusal(vm, other, good), "64 MiB of memory were saved, the machine has 128 MiB"));
    other = config;
    other.cpus.count = 2;
    CHECK(contains(refusal(vm, other, good), "1 vCPUs were saved, the machine has 2"));
    other = config;
    other.disks[0].id = "disk1";
    CHECK(contains(refusal(vm, other, good), "the state has no disk disk1"));
    other = config;
    other.consoles.clear();
    CHECK(contains(refusal(vm, other, good), "the state has a console console0"));
    other = config;
    other.helpers.clear();
    CHECK(contains(refusal(vm, other, good), "the state has a disk __seed"));
    other = config;
    other.coming.put({.id = "lan", .mac = {2, 0, 0, 0, 0, 1}});
    CHECK(contains(refusal(vm, other, good), "lan waits"));
    other = config;
    other.coming.helpers.push_back(seed::make_helper("cm", "CM0", {.label = "cm", .files = {}}).value());
    CHECK(contains(refusal(vm, other, good), "cm waits"));

    MachineState bad = good;
    for (kvm_cpuid_entry2& entry : bad.cpus[0].cpuid)
        if (entry.function == 7 && entry.index == 0) entry.edx |= 1U << 1;  // a bit that means nothing
    CHECK(contains(refusal(vm, config, bad), "CPUID leaf 0x7, EDX bit 1"));
    bad = good;
    bad.disks[0].slot = bad.rngs[0].slot;
    CHECK(contains(refusal(vm, config, bad), "slot"));
    bad = good;
    bad.cpus[0].mp_state = 77;
    // KVM says so, and it is no fault of the user's.
    const auto made = Machine::create(
        config, value_of(HostResources::open(config)), vm.host(), vm.listener(),
        Machine::Restored{.state = bad, .memory = value_of(GuestMemory::create(config.memory))});
    REQUIRE_FALSE(made);
    CHECK(contains(made.error().text(), "KVM_SET_MP_STATE"));
}

int main(int argc, char** argv) {
    if (argc < 2) return 2;
    guest_path = argv[1];
    set_log_level(LogLevel::kInfo);
    doctest::Context context(argc - 1, argv + 1);
    return context.run();
}
