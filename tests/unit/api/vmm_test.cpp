// The VMM before there is a machine: no KVM.
#include "api/vmm.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <vector>

#include "api/json/codec.h"

using namespace hako;
using namespace hako::api;

namespace {

struct Rig {
    boost::asio::io_context io;
    EventLog events;
    Vmm vmm{io,
            events,
            {},
            {.ended = [](const MachineEnd&) {}, .reboot_failed = [](const Error&) {}, .quit_typed = [] {}}};

    Result<> create(std::string_view fields = "", std::vector<Fd> fds = {}) {
        return vmm.create(json::decode<VmConfig>(
                              std::string(R"({"payload":{"kernel":"/nowhere/kernel"})").append(fields) + "}")
                              .value(),
                          std::move(fds));
    }
    std::vector<std::string> heard() const {
        std::vector<std::string> names;
        for (auto event = events.after(0); event; event = events.after(event->sequence))
            names.push_back(event->name);
        return names;
    }
};

template <typename Outcome>
Fault fault(const Outcome& outcome) {
    REQUIRE_FALSE(outcome);
    return outcome.error().fault();
}

/// An open file, and its number.
Fd open_file() {
    return Fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
}

bool is_open(int fd) {
    return ::fcntl(fd, F_GETFD) >= 0;
}

}  // namespace

TEST_CASE("without a VM everything but a deletion is missing") {
    Rig rig;
    CHECK(fault(rig.vmm.info()) == Fault::kMissing);
    for (const auto action : {&Vmm::boot, &Vmm::pause, &Vmm::resume, &Vmm::shut_down, &Vmm::reboot,
                              &Vmm::press_power_button, &Vmm::inject_nmi})
        CHECK(fault((rig.vmm.*action)()) == Fault::kMissing);
    CHECK(fault(rig.vmm.add_disk({.path = "/x"})) == Fault::kMissing);
    CHECK(fault(rig.vmm.add_net({})) == Fault::kMissing);
    CHECK(fault(rig.vmm.remove_device({.id = "x"})) == Fault::kMissing);
    CHECK(fault(rig.vmm.set_limits({.id = "x"})) == Fault::kMissing);
    CHECK(fault(rig.vmm.eject_helper({.id = "x"})) == Fault::kMissing);
    CHECK(fault(rig.vmm.update_helper({.id = "x"})) == Fault::kMissing);
    CHECK(fault(rig.vmm.dump_core("/x")) == Fault::kMissing);
    CHECK(rig.vmm.remove());
    CHECK(rig.heard().empty());
}

TEST_CASE("a VM that has not booted takes only what needs no machine") {
    Rig rig;
    REQUIRE(rig.create());
    CHECK(rig.vmm.info().value()->state == "Created");
    CHECK(rig.vmm.info().value()->memory_actual_size == 512 * MiB);
    CHECK(fault(rig.create()) == Fault::kState);
    for (const auto action : {&Vmm::pause, &Vmm::resume, &Vmm::shut_down, &Vmm::reboot,
                              &Vmm::press_power_button, &Vmm::inject_nmi})
        CHECK(fault((rig.vmm.*action)()) == Fault::kState);
    CHECK(fault(rig.vmm.set_limits({.id = "x"})) == Fault::kState);
    CHECK(fault(rig.vmm.boot()) == Fault::kInput);  // there is no such kernel
    CHECK(rig.vmm.info().value()->state == "Created");
    CHECK(rig.vmm.remove());
    CHECK(fault(rig.vmm.info()) == Fault::kMissing);
    CHECK(rig.create());
    CHECK(rig.heard() == std::vector<std::string>{"created", "booting", "deleted", "created"});
}

TEST_CASE("devices can be added to the next boot and taken from it") {
    Rig rig;
    REQUIRE(rig.create(R"(,"disks":[{"path":"/a"}])"));
    auto added = rig.vmm.add_disk({.path = "/b", .readonly = true});
    REQUIRE(added);
    CHECK_FALSE(*added);  // it has no place yet
    REQUIRE(rig.vmm.add_disk({.path = "/c", .id = "mine"}));
    REQUIRE(rig.vmm.add_net({.tap = "tap0", .mask = "255.0.0.0"}));
    VmConfig config = rig.vmm.info().value()->config;
    REQUIRE(config.disks.size() == 3);
    CHECK(config.disks[0].id == "_disk0");
    CHECK(config.disks[1].id == "_disk1");
    CHECK(config.disks[1].readonly);
    CHECK(config.disks[2].id == "mine");
    REQUIRE(config.net.size() == 1);
    CHECK(config.net[0].id == "_net0");
    CHECK(config.net[0].mask == "255.0.0.0");
    CHECK(config.net[0].mac);

    CHECK(fault(rig.vmm.add_disk({.path = "/d", .id = "mine"})) == Fault::kConflict);
    CHECK(fault(rig.vmm.add_net({.id = "mine"})) == Fault::kConflict);
    CHECK(fault(rig.vmm.add_net({.tap = "tap0"})) == Fault::kInput);
    CHECK(fault(rig.vmm.add_disk({.path = "/d", .id = "__mine"})) == Fault::kInput);
    CHECK(fault(rig.vmm.add_disk({})) == Fault::kInput);
    CHECK(fault(rig.vmm.remove_device({.id = "nobody"})) == Fault::kMissing);
    CHECK(rig.vmm.remove_device({.id = "_disk0"}));
    CHECK(rig.vmm.remove_device({.id = "_net0"}));
    config = rig.vmm.info().value()->config;
    CHECK(config.disks.size() == 2);
    CHECK(config.net.empty());
    REQUIRE(rig.vmm.add_disk({.path = "/e"}));
    CHECK(rig.vmm.info().value()->config.disks.back().id == "_disk0");
    CHECK(rig.vmm.info().value()->config.disks.back().path == "/e");
}

TEST_CASE("helper disks of the next boot are told, updated and ejected") {
    Rig rig;
    REQUIRE(rig.create(R"(,"cloud_init":{"user_data":"#!secret"},
        "helper_disks":[{"id":"cm","files":{"key":"secret"}}])"));
    const auto told = [&] {
        return rig.vmm.info().value()->helper_disks.value_or(std::vector<HelperDiskInfo>{});
    };
    auto before = told();
    REQUIRE(before.size() == 2);
    CHECK(before[0].id == "__seed");
    CHECK(before[0].label == "cidata");
    CHECK(before[1].id == "cm");
    CHECK(before[1].serial == "cm");
    CHECK(before[1].size > 0);
    CHECK(before[1].checksum.size() == 16);
    CHECK(json::encode(*rig.vmm.info().value()).find("secret") == std::string::npos);
    CHECK(fault(rig.vmm.add_disk({.path = "/d", .id = "cm"})) == Fault::kConflict);

    // What is refused changes nothing.
    VmUpdateHelper update{.id = "cm", .files = HelperFiles{{{.path = "../key", .content = "new"}}}};
    CHECK(fault(rig.vmm.update_helper(update)) == Fault::kInput);
    update.cloud_init = seed::Config{};
    CHECK(fault(rig.vmm.update_helper(update)) == Fault::kInput);
    CHECK(fault(rig.vmm.update_helper({.id = "__seed", .files = HelperFiles{}})) == Fault::kInput);
    CHECK(fault(rig.vmm.update_helper({.id = "nobody", .files = HelperFiles{}})) == Fault::kMissing);
    CHECK(fault(rig.vmm.eject_helper({.id = "nobody"})) == Fault::kMissing);
    CHECK(told() == before);

    REQUIRE(rig.vmm.update_helper({.id = "cm", .files = HelperFiles{{{.path = "key", .content = "new"}}}}));
    REQUIRE(rig.vmm.update_helper({.id = "__seed", .cloud_init = seed::Config{.user_data = "#!other"}}));
    CHECK(told()[0].checksum != before[0].checksum);
    CHECK(told()[1].checksum != before[1].checksum);
    REQUIRE(
        rig.vmm.update_helper({.id = "cm", .files = HelperFiles{{{.path = "key", .content = "secret"}}}}));
    CHECK(told()[1] == before[1]);

    REQUIRE(rig.vmm.add_disk({.path = "/d", .id = "disk"}));
    CHECK(fault(rig.vmm.eject_helper({.id = "disk"})) == Fault::kMissing);
    CHECK(rig.vmm.eject_helper({.id = "__seed"}));
    CHECK(rig.vmm.eject_helper({.id = "cm"}));
    CHECK_FALSE(rig.vmm.info().value()->helper_disks);
}

TEST_CASE("there is room for so many devices") {
    Rig rig;
    REQUIRE(rig.create());
    for (std::size_t i = 0; i < kMaxDevices; ++i)
        REQUIRE(rig.vmm.add_disk({.path = "/a"}));
    CHECK(fault(rig.vmm.add_disk({.path = "/a"})) == Fault::kInput);
    CHECK(fault(rig.vmm.add_net({})) == Fault::kInput);
}

TEST_CASE("open taps are kept as long as their interface is there") {
    Rig rig;
    REQUIRE(rig.create());
    Fd tap = open_file();
    const int number = tap.get();
    std::vector<Fd> fds;
    fds.push_back(std::move(tap));
    REQUIRE(rig.vmm.add_net({.id = "a"}, std::move(fds)));
    CHECK(is_open(number));
    CHECK(rig.vmm.remove_device({.id = "a"}));
    CHECK_FALSE(is_open(number));

    std::vector<Fd> two;
    two.push_back(open_file());
    two.push_back(open_file());
    const int first = two.front().get();
    CHECK(fault(rig.vmm.add_net({.id = "b"}, std::move(two))) == Fault::kInput);  // for one queue pair
    CHECK_FALSE(is_open(first));
    two.clear();
    two.push_back(open_file());
    two.push_back(open_file());
    REQUIRE(rig.vmm.add_net({.num_queues = 4, .id = "b"}, std::move(two)));
    CHECK(is_open(first));
    CHECK(rig.vmm.remove());
    CHECK_FALSE(is_open(first));
}

TEST_CASE("open taps come with the configuration, too") {
    Rig rig;
    const auto taps = [](int count) {
        std::vector<Fd> fds;
        for (int i = 0; i < count; ++i)
            fds.push_back(open_file());
        return fds;
    };
    const std::string_view nets = R"(,"net":[{"tap":"a"},{"num_fds":1},{"num_fds":2,"num_queues":4}])";
    CHECK(fault(rig.create(nets, taps(2))) == Fault::kInput);
    CHECK(fault(rig.create(nets, taps(4))) == Fault::kInput);
    CHECK(fault(rig.create(R"(,"net":[{"num_fds":2}])", taps(2))) == Fault::kInput);
    CHECK(fault(rig.create("", taps(1))) == Fault::kInput);
    auto fds = taps(3);
    const std::vector<int> numbers = {fds[0].get(), fds[1].get(), fds[2].get()};
    REQUIRE(rig.create(nets, std::move(fds)));
    const MachineConfig& machine = (*rig.vmm.instance())->config();
    CHECK(machine.nets[0].fds.empty());
    CHECK(machine.nets[0].tap == "a");
    CHECK(machine.nets[1].fds == std::vector<int>{numbers[0]});
    CHECK(machine.nets[1].tap.empty());
    CHECK(machine.nets[2].fds == std::vector<int>{numbers[1], numbers[2]});
    for (const int number : numbers)
        CHECK(is_open(number));
}
