#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "api/json/codec.h"
#include "api/schema/vm.h"
#include "api/schema/vm_info.h"
#include "vmm/base/units.h"

using namespace hako;
using namespace hako::api;

namespace {

/// As vm.create does it.
Result<MachineConfig> machine(std::string_view text) {
    VmConfig config = HAKO_TRY(json::decode<VmConfig>(text));
    name_devices(config);
    return to_machine(config);
}

/// Why a VM with a kernel and `fields` is refused.
std::string refusal(std::string_view fields) {
    const auto result = machine(std::string(R"({"payload":{"kernel":"/k"},)").append(fields).append("}"));
    if (result) return "taken";
    CHECK(result.error().fault() == Fault::kInput);
    return result.error().chain().back();
}

/// What Kata's runtime-rs sends, with its nulls, without the devices that hako does not have.
constexpr std::string_view kKata = R"({
  "cpus":{"boot_vcpus":2,"max_vcpus":8,"topology":{"threads_per_core":1,"cores_per_die":8,
          "dies_per_package":1,"packages":1},"kvm_hyperv":false,"max_phys_bits":46,"affinity":null,
          "features":{"amx":false}},
  "memory":{"size":2147483648,"mergeable":false,"hotplug_method":"Acpi","hotplug_size":4294967296,
            "hotplugged_size":null,"shared":true,"hugepages":false,"hugepage_size":null,"prefault":false,
            "zones":null,"thp":true},
  "kernel":null,"sgx_epc":null,
  "payload":{"firmware":null,"kernel":"/vmlinux","cmdline":"root=/dev/vda1 ro","initramfs":null},
  "disks":[{"path":"/rootfs","readonly":true,"direct":false,"num_queues":1,"queue_size":128,"id":null},
           {"path":"/data","id":"data"}],
  "net":null,"rng":{"src":"/dev/urandom","iommu":false},"balloon":null,"fs":[],"pmem":null,
  "serial":{"file":null,"mode":"Tty","iommu":false},"console":{"file":null,"mode":"Off","iommu":false},
  "devices":[],"vsock":null,"iommu":false,"numa":null,"watchdog":false,"platform":
  {"num_pci_segments":2,"iommu_segments":null,"serial_number":null,"uuid":null,"oem_strings":null,"tdx":false}
})";

}  // namespace

TEST_CASE("a VM as Kata sends it") {
    const auto config = machine(kKata);
    REQUIRE(config);
    CHECK(config->payload.kernel == "/vmlinux");
    CHECK(config->payload.initrd.empty());
    CHECK(config->payload.command_line == "root=/dev/vda1 ro");
    CHECK(config->cpus.count == 2);
    CHECK(config->memory.size == 2 * GiB);
    CHECK(config->memory.thp);
    REQUIRE(config->disks.size() == 2);
    CHECK(config->disks[0].id == "_disk0");
    CHECK(config->disks[0].readonly);
    CHECK(config->disks[1].id == "data");
    CHECK(config->nets.empty());
    CHECK(config->rng);
    CHECK(config->serial.mode == console::Mode::kTty);
}

TEST_CASE("a VM of a kernel alone has the contract's defaults") {
    const auto config = machine(R"({"payload":{"kernel":"/k"}})");
    REQUIRE(config);
    CHECK(config->cpus.count == 1);
    CHECK(config->memory.size == 512 * MiB);
    CHECK(config->serial.mode == console::Mode::kFile);
    CHECK(config->serial.path == "/dev/null");
    CHECK(config->rng);
    CHECK(config->helpers.empty());
}

TEST_CASE("each part of a VM reaches the machine") {
    const auto config = machine(R"({"payload":{"kernel":"/k","initramfs":"/i"},
        "memory":{"size":1073741824,"hugepages":true,"hugepage_size":2097152,"prefault":true},
        "net":[{"tap":"a"},{"id":"_net0"},{}],
        "serial":{"mode":"File","file":"/log"},
        "cloud_init":{"user_data":"#cloud-config\n","network_config":"version: 2\n"}})");
    REQUIRE(config);
    CHECK(config->payload.initrd == "/i");
    CHECK(config->memory.hugepages);
    CHECK(config->memory.hugepage_size == 2 * MiB);
    CHECK_FALSE(config->memory.thp);
    CHECK(config->memory.prefault);
    REQUIRE(config->nets.size() == 3);
    CHECK(config->nets[0].id == "_net1");
    CHECK(config->nets[1].id == "_net0");
    CHECK(config->nets[2].id == "_net2");
    CHECK(config->serial.path == "/log");
    REQUIRE(config->helpers.size() == 1);
    CHECK(config->helpers[0].id == "__seed");
    CHECK(config->helpers[0].label == "cidata");
    CHECK(machine(R"({"payload":{"kernel":"/k"},"serial":{"mode":"Off"}})")->serial.mode ==
          console::Mode::kOff);
    CHECK(machine(R"({"payload":{"kernel":"/k"},"serial":{"mode":"Pty"}})")->serial.mode ==
          console::Mode::kPty);
}

TEST_CASE("the serial port and the console go to their places") {
    const auto config = machine(R"({"payload":{"kernel":"/k"},
        "serial":{"mode":"File","file":"/log","socket":"/s"},"console":{"mode":"Socket","socket":"/c"}})");
    REQUIRE(config);
    CHECK(config->serial == console::Config{.mode = console::Mode::kFile, .path = "/log", .socket = "/s"});
    REQUIRE(config->consoles.size() == 1);
    CHECK(config->consoles[0].id == "_console0");
    CHECK(config->consoles[0].console ==
          console::Config{.mode = console::Mode::kSocket, .path = {}, .socket = "/c"});
    CHECK(config->consoles[0].ports.empty());
    for (const char* const none : {R"({"mode":"Off"})", R"({"mode":"Tty"})"}) {
        const auto plain = machine(std::string(R"({"payload":{"kernel":"/k"},"console":)") + none + "}");
        REQUIRE(plain);
        CHECK(plain->consoles.empty());
    }
    CHECK(machine(R"({"payload":{"kernel":"/k"},"console":{"mode":"Null"}})")->consoles[0].console.path ==
          "/dev/null");
}

TEST_CASE("memory that grows by a device comes back as it was sent, with what the guest is asked to plug") {
    const VmConfig sent = json::decode<VmConfig>(std::string_view(R"({"payload":{"kernel":"/k"},
        "memory":{"size":536870912,"hotplug_size":1073741824,"hotplug_method":"VirtioMem",
                  "hotplugged_size":4194304}})"))
                              .value();
    MachineConfig made = to_machine(sent).value();
    CHECK(made.memory.growth == MemoryGrowth::kVirtioMem);
    CHECK(made.memory.size == 512 * MiB);
    CHECK(made.memory.room == GiB);
    CHECK(made.memory.plugged == 4 * MiB);
    CHECK(made.memory.total() == 516 * MiB);
    CHECK(made.memory.mapped() == 1536 * MiB);
    made.memory.plugged = 8 * MiB;
    const VmConfig told = from_machine(made, sent);
    CHECK(told.memory.size == 512 * MiB);
    CHECK(told.memory.hotplugged_size == 8 * MiB);
    CHECK(told.memory.hotplug_method == HotplugMethod::kVirtioMem);
    CHECK_FALSE(told.memory.boot_size);
    CHECK(to_machine(told)->memory.plugged == 8 * MiB);
}

TEST_CASE("VmConfig: consoles that a command line or vm.add-console made are told, and are the same again") {
    using console::Mode;
    const MachineConfig none = machine(R"({"payload":{"kernel":"/k"}})").value();
    MachineConfig some = none;
    some.pci_segments = 2;
    some.consoles = {{.id = "_console0", .console = {.mode = Mode::kTty}},
                     {.id = "agent",
                      .ports = {{.name = "a", .host = {.mode = Mode::kSocket, .socket = "/a"}},
                                {.name = "b", .host = {.mode = Mode::kFile, .path = "/b", .socket = "/c"}}},
                      .pci_segment = 1}};
    // A client had said something else of the first one.
    const VmConfig told = from_machine(some, {.console = {.mode = ConsoleMode::kNull}});
    CHECK(told.console.mode == ConsoleMode::kOff);
    const auto again = to_machine(told);
    REQUIRE(again);
    CHECK(again->consoles == some.consoles);
    CHECK(from_machine(none, told).consoles.empty());
}

TEST_CASE("what a VM cannot be is refused by its field") {
    CHECK(machine("{}").error().chain().back() == "payload: missing, and must be given");
    CHECK(machine(R"({"payload":{}})").error().chain().back().starts_with("payload.kernel: the path"));
    CHECK(machine(R"({"payload":{"firmware":"/f"}})").error().chain().back() ==
          "payload.firmware: hako does not support this: give a kernel");
    CHECK(refusal(R"("cpus":{"boot_vcpus":65,"max_vcpus":65})").starts_with("cpus.boot_vcpus: a number"));
    CHECK(refusal(R"("cpus":{"boot_vcpus":0,"max_vcpus":1})").starts_with("cpus.boot_vcpus: a whole number"));
    CHECK(refusal(R"("cpus":{"boot_vcpus":2,"max_vcpus":1})").starts_with("cpus.max_vcpus: at least"));
    CHECK(refusal(R"("cpus":{"boot_vcpus":2})") == "cpus.max_vcpus: missing, and must be given");
    CHECK(refusal(R"("memory":{"size":1000000})").starts_with("memory.size: a multiple of 1 MiB"));
    CHECK(refusal(R"("memory":{"size":0})").starts_with("memory.size: a multiple of 1 MiB"));
    CHECK(refusal(R"("memory":{"size":18446744073708503040})").starts_with("memory.size: a multiple"));
    CHECK(refusal(R"("memory":{"size":1048576,"hugepages":true,"hugepage_size":2097152})")
              .starts_with("memory.size: a multiple of hugepage_size"));
    CHECK(refusal(R"("memory":{"size":1048576,"hugepage_size":4096})").starts_with("memory.hugepage_size"));
    CHECK(refusal(R"("memory":{"size":1048576,"zones":[{"id":"a"}]})").starts_with("memory.zones"));
    CHECK(refusal(R"("memory":{"size":1048576,"mergeable":true})").starts_with("memory.mergeable"));
    const auto blocks = [](const std::string& fields) {
        return refusal(R"("memory":{"size":1048576,"hotplug_method":"VirtioMem",)" + fields + "}");
    };
    CHECK(blocks(R"("hotplugged_size":2097152)").starts_with("memory.hotplugged_size"));
    CHECK(blocks(R"("hotplug_size":134217728,"hotplugged_size":1048576)")
              .starts_with("memory.hotplugged_size"));
    CHECK(refusal(R"("memory":{"size":135266304,"boot_size":1048576,"hotplug_size":268435456,)"
                  R"("hotplug_method":"VirtioMem"})")
              .starts_with("memory.boot_size"));
    CHECK(blocks(R"("hotplug_size":134217728,"hugepages":true)").starts_with("memory.hotplugged_size"));
    CHECK(refusal(R"("serial":{"mode":"File"})").starts_with("serial.file: the path of a file"));
    CHECK(refusal(R"("serial":{"mode":"Socket"})").starts_with("serial.socket: a path of 1 to 107 bytes"));
    CHECK(refusal(R"("serial":{"mode":"tty"})").starts_with(R"(serial.mode: one of "Off" "Pty" "Tty")"));
    CHECK(refusal(R"("console":{"mode":"File"})").starts_with("console.file: the path of a file"));
    CHECK(refusal(R"("console":{"mode":"Pty","iommu":true})").starts_with("console.iommu"));
    CHECK(refusal(R"("rng":{"src":"/dev/zero"})").starts_with("rng.src: /dev/urandom"));
    CHECK(refusal(R"("platform":{"sev_snp":true})").starts_with("platform.sev_snp"));
    CHECK(refusal(R"("platform":{"oem_strings":["a"]})").starts_with("platform.oem_strings"));
    for (const char* name : {"generic_vhost_user", "pmem", "devices", "user_devices", "vdpa", "numa",
                             "pci_segments", "rate_limit_groups"}) {
        CAPTURE(name);
        CHECK(refusal(fmt::format(R"("{}":[])", name)) == "taken");
        CHECK(refusal(fmt::format(R"("{}":[{{"x":1}}])", name)) ==
              fmt::format("{}: hako does not support this: leave it out", name));
    }
    CHECK(refusal(R"("tpm":{})").starts_with("tpm"));
    for (const char* name : {"iommu", "landlock_enable"})
        CHECK(refusal(fmt::format(R"("{}":true)", name)).starts_with(name));
}

TEST_CASE("devices that cannot be there together are refused") {
    CHECK(refusal(R"("disks":[{"path":"/a","id":"x"}],"net":[{"id":"x"}])").find("given twice") !=
          std::string::npos);
    CHECK(refusal(R"("disks":[{"path":"/a"},{"path":"/b","queue_size":17}])")
              .starts_with("disks[1].queue_size: a power of two"));
    CHECK(refusal(R"("net":[{},{"num_queues":3}])").starts_with("net[1].num_queues"));
    CHECK(refusal(R"("net":[{"mac":"02:00:5e:10:00:01"},{"mac":"02:00:5E:10:00:01"}])")
              .starts_with("net[1].mac: 02:00:5e:10:00:01 is taken by net[0]"));
    CHECK(refusal(R"("net":[{"tap":"a"},{},{"tap":"a"}])").starts_with("net[2].tap: a is taken by net[0]"));
    CHECK(refusal(R"("net":[{"socket":"/a"},{"socket":"/a"}])").starts_with("net[1].socket"));
    CHECK(refusal(R"("net":[{"tap":"t%d"},{"tap":"t%d"}])") == "taken");
}

TEST_CASE("each device is in a PCI segment that there is") {
    const std::string two = R"({"payload":{"kernel":"/k"},"platform":{"num_pci_segments":2})";
    const auto all = machine(two + R"(,"disks":[{"path":"/a","pci_segment":1}],"net":[{"pci_segment":1}],
        "fs":[{"tag":"t","socket":"/s","pci_segment":1}],"vsock":{"cid":3,"socket":"/v","pci_segment":1},
        "balloon":{"size":0,"pci_segment":1},"rng":{"src":"/dev/urandom","pci_segment":1},
        "console":{"mode":"Null","pci_segment":1}})");
    REQUIRE(all);
    CHECK(all->pci_segments == 2);
    CHECK(all->disks[0].pci_segment == 1);
    CHECK(all->nets[0].pci_segment == 1);
    CHECK(all->fs[0].pci_segment == 1);
    CHECK(all->vsocks[0].pci_segment == 1);
    CHECK(all->balloon->pci_segment == 1);
    CHECK(all->rng->pci_segment == 1);
    CHECK(all->consoles[0].pci_segment == 1);
    // vm.info's words make the same machine again.
    const MachineConfig again = to_machine(from_machine(*all)).value();
    CHECK(again.pci_segments == 2);
    CHECK(again.disks == all->disks);
    CHECK(again.fs == all->fs);
    CHECK(again.vsocks == all->vsocks);
    CHECK(again.balloon == all->balloon);
    CHECK(again.rng == all->rng);
    CHECK(again.consoles == all->consoles);
    CHECK(again.nets[0].pci_segment == 1);

    CHECK(refusal(R"("platform":{"num_pci_segments":17})").starts_with("platform.num_pci_segments"));
    for (const char* device :
         {R"("disks":[{"path":"/a","pci_segment":2}])", R"("net":[{"pci_segment":2}])",
          R"("fs":[{"tag":"t","socket":"/s","pci_segment":2}])",
          R"("vsock":{"cid":3,"socket":"/v","pci_segment":2})", R"("balloon":{"size":0,"pci_segment":2})",
          R"("rng":{"src":"/dev/urandom","pci_segment":2})",
          R"("console":{"mode":"Null","pci_segment":2})"}) {
        CAPTURE(device);
        CHECK(refusal(fmt::format(R"("platform":{{"num_pci_segments":2}},{})", device))
                  .starts_with("pci_segment: 2 of device "));
        CHECK(refusal(fmt::format(R"("platform":{{"num_pci_segments":3}},{})", device)) == "taken");
    }
}

TEST_CASE("a VM has a watchdog if it is asked for") {
    CHECK_FALSE(machine(R"({"payload":{"kernel":"/k"}})")->watchdog);
    CHECK(machine(R"({"payload":{"kernel":"/k"},"watchdog":true})")->watchdog == hako::watchdog::Config{});
}

TEST_CASE("vm.info gives back what the client sent, and what has come since") {
    VmConfig sent = json::decode<VmConfig>(kKata).value();
    name_devices(sent);
    MachineConfig now = to_machine(sent).value();
    now.disks.erase(now.disks.begin());
    virtio::net::Config added;
    added.id = "_net0";
    added.tap = "tap0";
    now.nets.push_back(added);
    now.helpers.push_back(seed::make_seed({.user_data = "#!/bin/secret"}).value());
    const VmInfo info{.config = from_machine(now, sent), .state = "Running", .memory_actual_size = 2 * GiB};
    const std::string text = json::encode(info);
    CHECK(text.find(R"("state":"Running")") != std::string::npos);
    CHECK(text.find("cloud_init") == std::string::npos);
    CHECK(text.find("secret") == std::string::npos);
    CHECK(text.find("null") == std::string::npos);
    const VmInfo back = json::decode<VmInfo>(std::string_view(text)).value();
    CHECK(back.config == info.config);
    CHECK(back.memory_actual_size == 2 * GiB);
    const VmConfig& config = back.config;
    CHECK(config.cpus.boot_vcpus == 2);
    CHECK(config.cpus.max_vcpus == 8);
    CHECK(config.cpus.max_phys_bits == 46);
    CHECK(config.memory.hotplug_size == 4 * GiB);
    REQUIRE(config.disks.size() == 1);
    CHECK(config.disks[0] == sent.disks[1]);
    REQUIRE(config.net.size() == 1);
    CHECK(config.net[0].tap == "tap0");
    CHECK(config.net[0].ip);
    CHECK(config.net[0].mac);
    CHECK(config.platform->num_pci_segments == 2);
    CHECK(config.serial.mode == ConsoleMode::kTty);
    CHECK(config.console.mode == ConsoleMode::kOff);

    CHECK_FALSE(config.watchdog);
    now.watchdog.emplace();
    CHECK(from_machine(now, sent).watchdog);

    // A VM of the command line, which no client sent, can be made again from what vm.info says.
    MachineConfig plain = machine(R"({"payload":{"kernel":"/k"},"disks":[{"path":"/d"}]})").value();
    const VmConfig again =
        json::decode<VmConfig>(std::string_view(json::encode(from_machine(plain)))).value();
    const MachineConfig remade = to_machine(again).value();
    CHECK(remade.disks == plain.disks);
    CHECK(remade.payload == plain.payload);
    CHECK(remade.serial == plain.serial);
}
