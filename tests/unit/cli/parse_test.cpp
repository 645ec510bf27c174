#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/unit/cli/command_line.h"
#include "tools/hako/cli_command.h"
#include "tools/hako/exit_code.h"
#include "vmm/base/units.h"

using namespace hako;
using namespace hako::cli;
using hako::cli::test::parse_words;
using hako::cli::test::run_error;

namespace {

RunCommand run_command(std::vector<const char*> words) {
    words.insert(words.begin(), "run");
    const auto command = parse_words(std::move(words));
    REQUIRE_MESSAGE(command, (command ? "" : command.error().text()));
    REQUIRE(std::holds_alternative<RunCommand>(*command));
    return std::get<RunCommand>(*command);
}

MemoryConfig memory_of(const char* text) {
    return run_command({"--kernel", "k", "--memory", text}).machine.memory;
}

virtio::blk::Config disk_of(const char* text) {
    return run_command({"--kernel", "k", "--disk", text}).machine.disks.at(0);
}

virtio::net::Config net_of(const char* text) {
    return run_command({"--kernel", "k", "--net", text}).machine.nets.at(0);
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a kernel alone makes a machine of defaults") {
    const RunCommand command = run_command({"--kernel", "vmlinuz"});
    CHECK(command.machine.payload == PayloadConfig{.kernel = "vmlinuz", .initrd = {}, .command_line = {}});
    CHECK(command.machine.cpus.count == 1);
    CHECK(command.machine.memory.size == 512 * MiB);
    CHECK(command.machine.memory.thp);
    CHECK_FALSE(command.machine.memory.hugepages);
    CHECK(command.machine.disks.empty());
    CHECK(command.machine.rng == virtio::rng::Config{});
    CHECK(command.machine.serial.mode == console::Mode::kTty);
    CHECK_FALSE(command.cloud_init);
    CHECK_FALSE(command.check);
    CHECK_FALSE(command.no_reboot);
    CHECK(command.shutdown_timeout == std::chrono::seconds(30));
    CHECK(command.verbosity == 0);
}

TEST_CASE("every option of run reaches its field") {
    const RunCommand command = run_command({"--kernel=k",
                                            "--initrd",
                                            "i",
                                            "--cmdline",
                                            "root=/dev/vda console=ttyS0",
                                            "--cpus",
                                            "64",
                                            "--memory",
                                            "2G",
                                            "--disk",
                                            "a.img",
                                            "--disk",
                                            "b.img",
                                            "--rng",
                                            "off",
                                            "--serial",
                                            "off",
                                            "--cloud-init",
                                            "u",
                                            "--check",
                                            "--no-reboot",
                                            "--shutdown-timeout",
                                            "0",
                                            "-v",
                                            "--verbose"});
    CHECK(command.machine.payload == PayloadConfig{"k", "i", "root=/dev/vda console=ttyS0"});
    CHECK(command.machine.cpus.count == 64);
    CHECK(command.machine.memory.size == 2 * GiB);
    REQUIRE(command.machine.disks.size() == 2);
    CHECK(command.machine.disks[0].path == "a.img");
    CHECK(command.machine.disks[1].path == "b.img");
    CHECK_FALSE(command.machine.rng);
    CHECK(command.machine.serial.mode == console::Mode::kOff);
    CHECK(command.cloud_init == SeedPaths{.user_data = "u"});
    CHECK(command.check);
    CHECK(command.no_reboot);
    CHECK(command.shutdown_timeout.count() == 0);
    CHECK(command.verbosity == 2);
}

TEST_CASE("a command line of the guest's is taken as it stands") {
    CHECK(run_command({"--kernel", "k", "--cmdline", "[a,b] {c} -x=1"}).machine.payload.command_line ==
          "[a,b] {c} -x=1");
    CHECK(run_command({"--kernel", "k", "--cmdline", "-quiet"}).machine.payload.command_line == "-quiet");
    CHECK(run_command({"--kernel", "k", "--cmdline=", "--cpus", "2"}).machine.payload.command_line.empty());
    CHECK(run_command({"--kernel", "k", "--cmdline="}).machine.payload.command_line.empty());
}

TEST_CASE("memory is a size, or a size with keys") {
    CHECK(memory_of("1M").size == MiB);
    CHECK(memory_of("size=3G").size == 3 * GiB);
    CHECK(memory_of("hugepages=off").size == 512 * MiB);
    const MemoryConfig huge = memory_of("4G,hugepages=1G,prefault");
    CHECK(huge.hugepages);
    CHECK(huge.hugepage_size == GiB);
    CHECK(huge.prefault);
    CHECK_FALSE(huge.thp);
    CHECK(memory_of("size=1G,hugepages=on").hugepage_size == 0);
    CHECK(memory_of("size=1G,hugepages=on").hugepages);
    CHECK(memory_of("1G,hugepages=2M").hugepage_size == 2 * MiB);
    CHECK_FALSE(memory_of("1G,thp=off").thp);
}

TEST_CASE("a disk is a path, or a path with keys") {
    using virtio::blk::Config;
    Config plain;
    plain.id = "_disk0";
    plain.path = "a.img";
    CHECK(disk_of("a.img") == plain);
    CHECK(disk_of("path=a.img") == plain);

    Config full = plain;
    full.readonly = true;
    full.serial = "root 1";
    full.direct = false;
    full.queues = 4;
    full.queue_size = 1024;
    full.id = "root";
    CHECK(disk_of("readonly,path=a.img,serial=root 1,direct=off,queues=4,queue_size=1024,id=root") == full);
    CHECK(disk_of("a.img,direct=on").direct == std::optional(true));
    CHECK(disk_of("a.img,readonly=on").readonly);
    CHECK_FALSE(disk_of("a.img,readonly=off").readonly);
}

TEST_CASE("a path may hold commas, written twice, and equals signs") {
    CHECK(disk_of("a,,b.img,readonly").path == "a,b.img");
    CHECK(disk_of("path=a,,,,b").path == "a,,b");
    CHECK(disk_of("/dir/a=b.img").path == "/dir/a=b.img");
    CHECK(disk_of("path=a=b").path == "a=b");
    CHECK(disk_of("[a").path == "[a");
    CHECK(disk_of("path=readonly").path == "readonly");
}

TEST_CASE("a network interface is a tap by its name, a socket by its path, or what is open") {
    virtio::net::Config plain;
    plain.id = "_net0";
    plain.tap = "tap0";
    CHECK(net_of("tap=tap0") == plain);
    virtio::net::Config full = plain;
    full.id = "wan";
    full.tap = "hako%d";
    full.mac = virtio::net::parse_mac("02:00:5e:10:00:01");
    full.mtu = 9000;
    full.queue_pairs = 4;
    CHECK(net_of("tap=hako%d,mac=02:00:5E:10:00:01,mtu=9000,queues=4,id=wan") == full);
    virtio::net::Config passt = plain;
    passt.tap.clear();
    passt.socket = "/run/passt,1.sock";
    passt.mtu = 65520;
    CHECK(net_of("socket=/run/passt,,1.sock,mtu=65520") == passt);
    virtio::net::Config fast = plain;
    fast.vhost = true;
    CHECK(net_of("tap=tap0,vhost=on") == fast);
    CHECK(net_of("tap=tap0,vhost") == fast);
    CHECK(net_of("tap=tap0,vhost=off") == plain);
    CHECK(net_of("fd=7").fds == std::vector{7});
    CHECK(net_of("fd=7").queue_pairs == 1);
    CHECK(net_of("fd=7,mtu=1500,fd=9").fds == std::vector{7, 9});
    CHECK(net_of("fd=7,fd=9").queue_pairs == 2);
    CHECK(net_of("fd=7,fd=9,queues=2").queue_pairs == 2);
    const auto nets = run_command({"--kernel", "k", "--net", "tap=a", "--net", "fd=3"}).machine.nets;
    REQUIRE(nets.size() == 2);
    CHECK(nets[1].id == "_net1");
    CHECK(run_command({"--kernel", "k"}).machine.nets.empty());
}

TEST_CASE("disks without an id are named by their place") {
    const auto disks =
        run_command({"--kernel", "k", "--disk", "a", "--disk", "b,id=x", "--disk", "c"}).machine.disks;
    REQUIRE(disks.size() == 3);
    CHECK(disks[0].id == "_disk0");
    CHECK(disks[1].id == "x");
    CHECK(disks[2].id == "_disk2");
}

TEST_CASE("the serial port goes to a place, or to a file and a socket") {
    const auto serial = [](const char* text) {
        return run_command({"--kernel", "k", "--serial", text}).machine.serial;
    };
    CHECK(serial("tty").mode == console::Mode::kTty);
    CHECK(serial("pty").mode == console::Mode::kPty);
    CHECK(serial("off").mode == console::Mode::kOff);
    CHECK(serial("file=out=1,,2.log") ==
          console::Config{.mode = console::Mode::kFile, .path = "out=1,2.log"});
    CHECK(serial("null") == console::Config{.mode = console::Mode::kFile, .path = "/dev/null"});
    CHECK(serial("socket=/s") == console::Config{.mode = console::Mode::kSocket, .path = {}, .socket = "/s"});
    const console::Config both{.mode = console::Mode::kFile, .path = "log", .socket = "/s"};
    CHECK(serial("file=log,socket=/s") == both);
    CHECK(serial("socket=/s,file=log") == both);
}

TEST_CASE("a virtio console and its named ports are one device") {
    CHECK(run_command({"--kernel", "k"}).machine.consoles.empty());
    CHECK(run_command({"--kernel", "k", "--console", "off"}).machine.consoles.empty());
    const auto machine = run_command({"--kernel", "k", "--console", "pty", "--port", "name=a.0,socket=/s",
                                      "--port", "name=b,file=f"})
                             .machine;
    REQUIRE(machine.consoles.size() == 1);
    const virtio::console::Config& device = machine.consoles[0];
    CHECK(device.id == "_console0");
    CHECK(device.console.mode == console::Mode::kPty);
    REQUIRE(device.ports.size() == 2);
    CHECK(device.ports[0].name == "a.0");
    CHECK(device.ports[0].host.socket == "/s");
    CHECK(device.ports[1].host.path == "f");
    const auto ports = run_command({"--kernel", "k", "--port", "null,name=x"}).machine.consoles;
    REQUIRE(ports.size() == 1);
    CHECK(ports[0].console.mode == console::Mode::kOff);
    // With the serial port elsewhere the console may have the terminal.
    CHECK(run_command({"--kernel", "k", "--serial", "off", "--console", "tty"})
              .machine.consoles[0]
              .console.mode == console::Mode::kTty);
}

TEST_CASE("a vsock has an address and a place") {
    const auto machine = [](const char* text) {
        return run_command({"--kernel", "k", "--vsock", text}).machine;
    };
    CHECK(machine("cid=3,socket=/run/v").vsocks ==
          std::vector{virtio::vsock::Config{.id = "_vsock0", .cid = 3, .socket = "/run/v"}});
    CHECK(machine("cid=4294967294,socket=v,id=agent").vsocks ==
          std::vector{virtio::vsock::Config{.id = "agent", .cid = 0xffff'fffe, .socket = "v"}});
}

TEST_CASE("memory grows by ACPI, or by a device") {
    const auto memory = [](const char* text) {
        return run_command({"--kernel", "k", "--memory", text}).machine.memory;
    };
    CHECK(memory("512M,hotplug=1G").growth == MemoryGrowth::kAcpi);
    CHECK(memory("512M,hotplug=1G,hotplug_method=acpi").growth == MemoryGrowth::kAcpi);
    const MemoryConfig blocks = memory("512M,hotplug=1G,hotplug_method=virtio-mem,hotplugged=6M");
    CHECK(blocks.growth == MemoryGrowth::kVirtioMem);
    CHECK(blocks.room == GiB);
    CHECK(blocks.plugged == 6 * MiB);
}

TEST_CASE("a balloon begins empty, or with a size") {
    const auto balloon = [](const char* text) {
        return run_command({"--kernel", "k", "--balloon", text}).machine.balloon.value();
    };
    CHECK(balloon("size=0") == virtio::balloon::Config{});
    CHECK(balloon("128M").size == 128 * MiB);
    CHECK(balloon("free_page_reporting,deflate_on_oom=on") ==
          virtio::balloon::Config{.deflate_on_oom = true, .free_page_reporting = true});
    CHECK_FALSE(run_command({"--kernel", "k"}).machine.balloon);
    CHECK_FALSE(run_command({"--kernel", "k"}).machine.watchdog);
    CHECK(run_command({"--kernel", "k", "--watchdog"}).machine.watchdog == watchdog::Config{});
}

TEST_CASE("a shared directory has a tag and a daemon") {
    const auto all = run_command({"--kernel", "k", "--fs", "tag=a,socket=/run/a", "--fs",
                                  "tag=b,socket=/run/b,num_queues=2,queue_size=128,id=more"})
                         .machine.fs;
    CHECK(all ==
          std::vector{virtio::fs::Config{.id = "_fs0", .tag = "a", .socket = "/run/a"},
                      virtio::fs::Config{
                          .id = "more", .tag = "b", .socket = "/run/b", .queues = 2, .queue_size = 128}});
}

TEST_CASE("the guest gets random bytes at the rate that was given") {
    const auto bytes = [](const char* text) {
        return run_command({"--kernel", "k", "--rng", text}).machine.rng.value().limits.bytes;
    };
    CHECK(bytes("bandwidth=64K/s") == io::Rate{.tokens = 64 * KiB, .burst = 6553});
    CHECK(bytes("bandwidth=1/s") == io::Rate{.tokens = 1, .burst = 1});
    CHECK(bytes("bandwidth=1M/s,bandwidth_burst=2M") == io::Rate{.tokens = 1 * MiB, .burst = 2 * MiB});
    CHECK_FALSE(run_command({"--kernel", "k", "--rng", "off"}).machine.rng);
}

TEST_CASE("disks and network interfaces have limits of bytes and of operations") {
    CHECK(disk_of("a").limits == io::RateLimits{});
    CHECK(disk_of("a,bandwidth=4M/s").limits ==
          io::RateLimits{.bytes = {.tokens = 4 * MiB, .burst = 4 * MiB / 10}, .operations = {}});
    CHECK(disk_of("a,iops=100,iops_burst=7,bandwidth_burst=1K,bandwidth=1G/s").limits ==
          io::RateLimits{.bytes = {.tokens = 1 * GiB, .burst = 1 * KiB},
                         .operations = {.tokens = 100, .burst = 7}});
    CHECK(disk_of("a,iops=5").limits.operations == io::Rate{.tokens = 5, .burst = 1});

    const auto limits = net_of("tap=t,bandwidth=1M/s,pps=2000,pps_burst=10").limits;
    CHECK(limits.rx == io::RateLimits{.bytes = {.tokens = 1 * MiB, .burst = 1 * MiB / 10},
                                      .operations = {.tokens = 2000, .burst = 10}});
    CHECK(limits.tx == limits.rx);
    CHECK(net_of("tap=t").limits == virtio::net::Limits{});
}

TEST_CASE("cloud-init files are told apart by their place or by their key") {
    const auto seed = [](const char* text) {
        return run_command({"--kernel", "k", "--cloud-init", text}).cloud_init;
    };
    CHECK(seed("u") == SeedPaths{.user_data = "u"});
    CHECK(seed("u,m,n") == SeedPaths{.user_data = "u", .meta_data = "m", .network_config = "n"});
    CHECK(seed("u,network-config=n") == SeedPaths{.user_data = "u", .network_config = "n"});
    CHECK(seed("u,vendor-data=v") == SeedPaths{.user_data = "u", .vendor_data = "v"});
    CHECK(seed("a,,b") == SeedPaths{.user_data = "a,b"});
    CHECK(seed("u,instance-id=i,hostname=h,format=vfat") ==
          SeedPaths{.user_data = "u", .instance_id = "i", .hostname = "h", .format = seed::Format::kVfat});
}

TEST_CASE("helper disks are folders") {
    const RunCommand command = run_command({"--kernel", "k", "--helper-disk", "id=a,folder=/f",
                                            "--helper-disk", "id=b,folder=g,label=l,serial=s,format=vfat",
                                            "--helper-disk", "id=c,folder=h,mode=0400"});
    REQUIRE(command.helper_disks.size() == 3);
    CHECK(command.helper_disks[0] == HelperFolder{.id = "a", .folder = "/f", .serial = "a"});
    CHECK(command.helper_disks[1] ==
          HelperFolder{.id = "b", .folder = "g", .label = "l", .serial = "s", .format = seed::Format::kVfat});
    CHECK(command.helper_disks[2].mode == 0400);
}

TEST_CASE("hako seed builds and checks one disk, and shows an image") {
    const auto seed = [](std::vector<const char*> words) {
        words.insert(words.begin(), "seed");
        const auto command = parse_words(std::move(words));
        REQUIRE_MESSAGE(command, command.error().text());
        return std::get<SeedCommand>(*command);
    };
    CHECK(seed({"check", "--cloud-init", "u"}) ==
          SeedCommand{.verb = SeedCommand::Verb::kCheck, .cloud_init = SeedPaths{.user_data = "u"}});
    CHECK(seed({"build", "--helper-disk", "id=a,folder=f", "--output", "o"}) ==
          SeedCommand{.verb = SeedCommand::Verb::kBuild,
                      .helper = HelperFolder{.id = "a", .folder = "f", .serial = "a"},
                      .image = "o"});
    CHECK(seed({"show", "i"}) == SeedCommand{.verb = SeedCommand::Verb::kShow, .image = "i"});
    CHECK(seed({"show", "i", "a/b"}) ==
          SeedCommand{.verb = SeedCommand::Verb::kShow, .image = "i", .file = "a/b"});
}

TEST_CASE("bad values are refused with the option, the value and what is allowed") {
    struct Bad {
        std::vector<const char*> words;
        std::vector<const char*> parts;  ///< what the message holds
    };
    const std::string long_socket = "socket=/" + std::string(107, 'a');
    const std::string long_id(65, 'a');
    const std::string long_id_option = "a,id=" + long_id;
    const std::vector<Bad> table = {
        {{"--cpus", "0"}, {"--cpus 0", "1 to 64"}},
        {{"--cpus", "65"}, {"--cpus 65", "1 to 64"}},
        {{"--cpus", "4,max=3"}, {"--cpus 4,max=3", "max", "4 to 64"}},
        {{"--cpus", "4,max=65"}, {"--cpus 4,max=65", "max", "4 to 64"}},
        {{"--cpus", "-1"}, {"--cpus -1", "1 to 64"}},
        {{"--cpus", "2x"}, {"--cpus 2x"}},
        {{"--cpus", "99999999999999999999"}, {"1 to 64"}},
        {{"--cpus", ""}, {"--cpus", "empty"}},
        {{"--cpus", "1", "--cpus", "2"}, {"--cpus", "2 times", "1, 2"}},
        {{"--cpus"}, {"--cpus", "a value must follow"}},
        {{"--cloud-init", "u,format=ext4"}, {"format must be iso9660 or vfat, not ext4"}},
        {{"--helper-disk", "folder=f"}, {"id=TEXT is missing"}},
        {{"--helper-disk", "id=a"}, {"folder=PATH is missing"}},
        {{"--helper-disk", "id=__a,folder=f"}, {"id must be", "__a"}},
        {{"--helper-disk", "id=a,folder=f,mode=8"}, {"mode must be an octal number up to 0777, not 8"}},
        {{"--helper-disk", "id=a,folder=f,mode=1777"}, {"mode must be", "1777"}},
        {{"--helper-disk", "id=a,folder=f,serial=123456789012345678901"}, {"serial must be at most 20"}},
        {{"--helper-disk", "id=a,folder=f", "--helper-disk", "id=a,folder=g"}, {"the id a is taken"}},
        {{"--memory", "1X"}, {"--memory 1X", "512M or 2G"}},
        {{"--memory", "0"}, {"--memory 0", "1 MiB"}},
        {{"--memory", "1048577"}, {"multiple of 1 MiB"}},
        {{"--memory", "99999T"}, {"16 TiB"}},
        {{"--memory", "size="}, {"size", "empty"}},
        {{"--memory", "1G,2G"},
         {"2G is not KEY=VALUE", "size, hotplug, hotplug_method, hotplugged, hugepages, thp, prefault"}},
        {{"--memory", "1G,size=2G"}, {"size is given twice"}},
        {{"--memory", "1G,hugepages=4M"}, {"hugepages must be on, off, 2M or 1G, not 4M"}},
        {{"--memory", "1G,hotplug=100M"}, {"hotplug must be", "128 MiB"}},
        {{"--memory", "1G,hotplug=1G,hotplug_method=dimm"}, {"hotplug_method must be acpi or virtio-mem"}},
        {{"--memory", "1G,hotplug=1G,hotplugged=2M"}, {"hotplugged must be", "virtio-mem"}},
        {{"--memory", "1G,hotplug=1G,hotplug_method=virtio-mem,hotplugged=1M"}, {"2 MiB", "not 1 MiB"}},
        {{"--memory", "1G,hotplug=128M,hotplug_method=virtio-mem,hugepages=1G"}, {"1 GiB", "128 MiB"}},
        {{"--memory", "1025M,hugepages=2M"}, {"1025 MiB", "2 MiB"}},
        {{"--memory", "1G,hugepages=on,thp=on"}, {"thp=on", "choose one"}},
        {{"--memory", "1G,thp=yes"}, {"thp must be on or off, not yes"}},
        {{"--memory", "1G,hugepage=on"}, {"no such key: hugepage", "did you mean hugepages?"}},
        {{"--net", "mtu=1500"}, {"--net mtu=1500", "tap=NAME, socket=PATH or fd=N"}},
        {{"--net", "tap=a,fd=3"}, {"one of the three"}},
        {{"--net", "tap=a,socket=/s"}, {"one of the three"}},
        {{"--net", "socket="}, {"socket"}},
        {{"--net", "socket=/s,queues=2"}, {"a socket carries one queue"}},
        {{"--net", "socket=/s,vhost=on"}, {"vhost=on goes with a tap"}},
        {{"--net", "tap=a,vhost=yes"}, {"vhost must be on or off, not yes"}},
        {{"--net", long_socket.c_str()}, {"socket must be a path of at most 107 bytes"}},
        {{"--net", "socket=/s", "--net", "socket=/s"}, {"the socket is taken by _net0"}},
        {{"--net", "tap0"}, {"tap0 is not KEY=VALUE"}},
        {{"--net", "tap=a/b"}, {"tap must be at most 15 letters", "not a/b"}},
        {{"--net", "tap=abcdefghijklmnop"}, {"tap must be at most 15"}},
        {{"--net", "tap=a%db"}, {"tap must be"}},
        {{"--net", "tap=a,tap=b"}, {"tap is given twice"}},
        {{"--net", "fd=2"}, {"fd must be an open descriptor from 3 up, not 2"}},
        {{"--net", "fd=x"}, {"fd must be", "not x"}},
        {{"--net", "fd=3,fd=3"}, {"fd 3 is given twice"}},
        {{"--net", "fd=3,queues=2"}, {"each queue needs one fd=N"}},
        {{"--net", "fd=3,fd=4,fd=5,fd=6,fd=7,fd=8,fd=9,fd=10,fd=11"},
         {"each queue needs one fd=N, at most 8"}},
        {{"--net", "tap=a,mac=01:00:5e:10:00:01"}, {"mac must be a unicast address such as", "not 01:"}},
        {{"--net", "tap=a,mac="}, {"mac must be", "not empty"}},
        {{"--net", "tap=a,mtu=67"}, {"mtu must be a whole number from 68 to 65535, not 67"}},
        {{"--net", "tap=a,queues=9"}, {"queues must be a whole number from 1 to 8, not 9"}},
        {{"--net", "tap=a,id=x/y"}, {"id must be at most 64 letters"}},
        {{"--net", "tap=a,queue=2"}, {"no such key: queue", "did you mean queues?"}},
        {{"--net", "tap=a,id=x", "--net", "tap=b,id=x"}, {"the id x is taken"}},
        {{"--net", "tap=a", "--net", "tap=a"}, {"the tap is taken by _net0"}},
        {{"--net", "fd=3", "--net", "fd=4,fd=3"}, {"the tap is taken by _net0"}},
        {{"--net", "tap=a,mac=02:00:5e:10:00:01", "--net", "tap=b,mac=02:00:5e:10:00:01"},
         {"the address 02:00:5e:10:00:01 is taken by _net0"}},
        {{"--disk", ""}, {"--disk", "missing"}},
        {{"--disk", "readonly"}, {"--disk readonly", "path= is missing"}},
        {{"--disk", "path="}, {"path= must not be empty"}},
        {{"--disk", "a,"}, {"--disk a,", "missing", "written twice"}},
        {{"--disk", "a,b"}, {"b is not KEY=VALUE"}},
        {{"--disk", "a,qeues=2"}, {"no such key: qeues", "queue_size", "did you mean queues?"}},
        {{"--disk", "a,readonly=maybe"}, {"readonly must be on or off, not maybe"}},
        {{"--disk", "a,direct=1"}, {"direct must be on or off, not 1"}},
        {{"--disk", "a,direct"}, {"direct is not KEY=VALUE"}},
        {{"--disk", "a,queues=0"}, {"queues must be a whole number from 1 to 64, not 0"}},
        {{"--disk", "a,queues=65"}, {"queues must be a whole number from 1 to 64, not 65"}},
        {{"--disk", "a,queue_size=100"}, {"queue_size must be a power of two from 16 to 1024, not 100"}},
        {{"--disk", "a,queue_size=8"}, {"queue_size must be a whole number from 16 to 1024, not 8"}},
        {{"--disk", "a,queue_size=2048"}, {"queue_size", "1024"}},
        {{"--disk", "a,serial=123456789012345678901"}, {"serial must be at most 20 printable"}},
        {{"--disk", "a,serial=t\xc3\xa4st"}, {"serial must be at most 20 printable"}},
        {{"--disk", "a,serial=x\ty"}, {"serial must be at most 20 printable"}},
        {{"--disk", "a,id=x/y"}, {"id must be at most 64 letters", "not x/y"}},
        {{"--disk", long_id_option.c_str()}, {"id must be at most 64"}},
        {{"--disk", "a,id=abcdefghijklmnopqrstu"}, {"needs a serial= of its own"}},
        {{"--disk", "a,id=x", "--disk", "b,id=x"}, {"--disk b,id=x", "taken by a", "ids must differ"}},
        {{"--disk", "a", "--disk", "b,id=_disk0"}, {"ids must differ"}},
        {{"--disk", "a,serial=s", "--disk", "b,serial=s"}, {"serial s is taken by a"}},
        {{"--disk", "a,serial=x", "--disk", "b,id=x"}, {"serial x is taken by a"}},
        {{"--balloon", "512M"}, {"--balloon 512M", "leaves nothing of 512 MiB"}},
        {{"--balloon", "size=5K"}, {"--balloon size=5K", "a multiple of 4K"}},
        {{"--balloon", "size=1M", "--memory", "1G,hugepages=2M"}, {"huge pages"}},
        {{"--balloon", "deflate=on"}, {"no such key: deflate"}},
        {{"--balloon", "1M", "--balloon", "2M"}, {"--balloon is given 2 times"}},
        {{"--vsock", "cid=3"}, {"--vsock cid=3", "give cid=N and socket=PATH"}},
        {{"--vsock", "cid=2,socket=v"}, {"cid must be", "from 3 to 4294967294", "not 2"}},
        {{"--vsock", "cid=3,socket=v,id=a/b"}, {"id must be"}},
        {{"--vsock", "cid=3,socket=v,port=1"}, {"no such key: port"}},
        {{"--vsock", "cid=3,socket=v", "--vsock", "cid=4,socket=w"}, {"--vsock is given 2 times"}},
        {{"--fs", "tag=a"}, {"--fs tag=a", "give tag=NAME and socket=PATH"}},
        {{"--fs", "tag=,socket=s"}, {"tag"}},
        {{"--fs", "tag=a,socket=s,queue_size=100"}, {"queue_size must be a power of two"}},
        {{"--fs", "tag=a,socket=s,num_queues=9"}, {"num_queues", "from 1 to 8"}},
        {{"--fs", "tag=a,socket=s", "--fs", "tag=b,socket=s"}, {"the socket s is taken by a"}},
        {{"--fs", "tag=a,socket=s", "--fs", "tag=a,socket=t"}, {"the tag a is given twice"}},
        {{"--rng", "on"}, {"--rng on", "KEY=VALUE"}},
        {{"--disk", "a,bandwidth=4M"}, {"bandwidth must be a size a second", "not 4M"}},
        {{"--disk", "a,bandwidth_burst=4M"}, {"bandwidth_burst= needs bandwidth="}},
        {{"--disk", "a,iops_burst=4"}, {"iops_burst= needs iops="}},
        {{"--disk", "a,iops=0"}, {"iops must be a whole number above 0, not 0"}},
        {{"--disk", "a,iops=1,iops_burst=1K"}, {"iops_burst must be a whole number above 0, not 1K"}},
        {{"--disk", "a,pps=1"}, {"no such key: pps"}},
        {{"--net", "tap=a,pps=1/s"}, {"pps must be a whole number above 0, not 1/s"}},
        {{"--net", "tap=a,iops=1"}, {"no such key: iops"}},
        {{"--rng", "bandwidth_burst=1M"}, {"--rng bandwidth_burst=1M", "bandwidth= is missing"}},
        {{"--rng", "bandwidth=64K"}, {"bandwidth must be a size a second", "not 64K"}},
        {{"--rng", "bandwidth=/s"}, {"bandwidth must be a size a second"}},
        {{"--rng", "bandwidth=0/s"}, {"at least 1/s"}},
        {{"--rng", "bandwidth=1K/s,bandwidth_burst=0"}, {"bandwidth_burst must be a size above 0"}},
        {{"--rng", "bandwidth=1K/s,speed=1"}, {"no such key: speed"}},
        {{"--rng", "off", "--rng", "off"}, {"--rng is given 2 times"}},
        {{"--serial", "file"}, {"--serial file", "tty, pty, file=PATH, socket=PATH, null or off"}},
        {{"--serial", "file="}, {"--serial file=", "must not be empty"}},
        {{"--serial", "TTY"}, {"--serial TTY"}},
        {{"--serial", "tty,file=a"}, {"--serial tty,file=a", "must be tty"}},
        {{"--serial", "tcp=1"}, {"no such key: tcp", "file, socket"}},
        {{"--console", "tty"}, {"one of them has the terminal"}},
        {{"--console", "radio"}, {"--console radio", "must be tty"}},
        {{"--port", "socket=/s"}, {"--port socket=/s", "name=NAME is missing"}},
        {{"--port", "name=a"}, {"must be tty"}},
        {{"--port", "name=a,off"}, {"a port that is off is none"}},
        {{"--port", "name=a b,pty"}, {"name must be at most 64 letters"}},
        {{"--port", "name=a,pty", "--port", "name=a,null"}, {"the name a is taken"}},
        {{"--port", "name=a,tty"}, {"one of them has the terminal"}},
        {{"--port", "name=a,socket=/s", "--port", "name=b,socket=/s"}, {"the socket /s is given twice"}},
        {{"--cloud-init", "a,b,c,d"}, {"--cloud-init a,b,c,d", "d is not KEY=VALUE"}},
        {{"--cloud-init", "meta-data=m"}, {"user-data file is missing"}},
        {{"--shutdown-timeout", "1.5"}, {"--shutdown-timeout 1.5", "0 to 86400"}},
        {{"--shutdown-timeout", "86401"}, {"--shutdown-timeout 86401"}},
        {{"--check=yes"}, {"--check takes no value"}},
        {{"--kernel", "other"}, {"--kernel is given 2 times (k, other)"}},
        {{"--dsik", "x"}, {"--dsik", "did you mean --disk?"}},
        {{"--dsik=x"}, {"--dsik:", "did you mean --disk?"}},
        {{"image"}, {"image", "takes no such argument"}},
        {{"--", "image"}, {"image", "takes no such argument"}},
    };
    for (const Bad& bad : table) {
        std::vector<const char*> words = {"run", "--kernel", "k"};
        words.insert(words.end(), bad.words.begin(), bad.words.end());
        const auto command = parse_words(words);
        const std::string line = bad.words.back();
        REQUIRE_FALSE_MESSAGE(command, line);
        CHECK(command.error().fault() == Fault::kInput);
        for (const char* part : bad.parts)
            CHECK_MESSAGE(contains(command.error().text(), part), command.error().text()
                                                                      << " lacks " << part);
    }
}

TEST_CASE("a VM has at most 24 disks") {
    std::vector<std::string> names;
    for (int i = 0; i < 25; ++i)
        names.push_back("disk" + std::to_string(i));
    std::vector<const char*> words = {"run", "--kernel", "k"};
    for (const std::string& name : names)
        words.insert(words.end(), {"--disk", name.c_str()});
    const auto too_many = parse_words(words);
    REQUIRE_FALSE(too_many);
    CHECK(too_many.error().text() == "--disk is given 25 times: a VM has at most 24 disks");
    words.resize(words.size() - 2);
    CHECK(parse_words(words));
}

TEST_CASE("a missing or unknown command is refused with those that exist") {
    const auto error = [](std::vector<const char*> words) {
        const auto command = parse_words(std::move(words));
        return command ? std::string() : command.error().text();
    };
    CHECK(contains(error({}), "run, serve, ctl, seed, doctor, bench, state, snapshot or completion"));
    CHECK(contains(error({"rnu"}), "did you mean run?"));
    CHECK(contains(error({"--kernel", "k"}), "option before the command"));
    CHECK(contains(error({"run"}), "--kernel is missing"));
    CHECK(contains(error({"doctor", "now"}), "hako doctor takes no such argument"));
    CHECK(contains(error({"doctor", "run"}), "hako doctor takes no such argument"));
    CHECK(contains(error({"completion"}), "bash, zsh or fish"));
    CHECK(contains(error({"completion", "ksh"}), "completion ksh: must be bash, zsh or fish"));
    CHECK(contains(error({"completion", "bash", "zsh"}), "2 times"));
}

namespace {

ServeCommand serve_of(const Result<Command>& command) {
    REQUIRE_MESSAGE(command, command.error().text());
    REQUIRE(std::holds_alternative<ServeCommand>(*command));
    return std::get<ServeCommand>(*command);
}

Result<Command> persona(std::vector<const char*> words) {
    words.insert(words.begin(), "/usr/bin/cloud-hypervisor");
    return parse(static_cast<int>(words.size()), words.data());
}

}  // namespace

TEST_CASE("a configuration file says all of the VM") {
    const auto command =
        parse_words({"run", "--config", "vm.json", "--api-socket", "/a", "--no-reboot", "-v"});
    REQUIRE(command);
    const auto& run = std::get<RunCommand>(*command);
    CHECK(run.config == "vm.json");
    CHECK(run.api_socket);
    CHECK(run.no_reboot);
    for (const char* option : {"--kernel", "--cpus", "--memory", "--disk", "--cmdline", "--serial"}) {
        const auto both = parse_words({"run", "--config", "vm.json", option, "1"});
        REQUIRE_FALSE(both);
        CHECK(both.error().text() == fmt::format("--config vm.json and {}: the file says all of the VM: give "
                                                 "one of them",
                                                 option));
    }
}

TEST_CASE("serve is parsed") {
    const ServeCommand plain = serve_of(parse_words({"serve", "--api-socket", "/run/a"}));
    CHECK(std::get<std::string>(plain.api_socket) == "/run/a");
    CHECK_FALSE(plain.event_monitor);
    CHECK(plain.outlive_vm);
    CHECK(plain.verbosity == 0);
    const ServeCommand all = serve_of(parse_words({"serve", "-vv", "--api-socket=fd=3", "--event-monitor",
                                                   "path=/run/e", "--log-file", "l", "--seccomp", "false"}));
    CHECK(std::get<int>(all.api_socket) == 3);
    CHECK(std::get<std::string>(*all.event_monitor) == "/run/e");
    CHECK(all.log_file == "l");
    CHECK(all.verbosity == 2);
    const auto error = [](std::vector<const char*> words) { return parse_words(words).error().text(); };
    CHECK(contains(error({"serve"}), "--api-socket is missing"));
    CHECK(contains(error({"serve", "--api-socket", "a", "--seccomp", "maybe"}), "--seccomp maybe"));
    CHECK(contains(error({"serve", "--api-socket", "a", "--dirty-log", "rings"}), "--dirty-log rings"));
    CHECK(contains(error({"serve", "--api-socket", "a", "--event-monitor", "fd=x"}),
                   "--event-monitor fd=x: fd= takes"));
    CHECK(contains(error({"serve", "--api-socket", "a", "--kernel", "k"}), "no such option"));
}

TEST_CASE("under the name of cloud-hypervisor hako serves, and ends with its guest") {
    const ServeCommand kata =
        serve_of(persona({"--api-socket", "/run/clh-api.sock", "-v", "--seccomp", "false"}));
    CHECK(std::get<std::string>(kata.api_socket) == "/run/clh-api.sock");
    CHECK_FALSE(kata.outlive_vm);
    CHECK(kata.verbosity == 1);
    CHECK(serve_of(persona({"--api-socket", "path=/a", "--no-shutdown"})).outlive_vm);
    const auto printed = [](const Result<Command>& command) { return std::get<PrintCommand>(*command).text; };
    // libvirt reads major and minor, and wants 40 at least for what it does with taps.
    CHECK(printed(persona({"--version"})) == "cloud-hypervisor v53.0-hako-" HAKO_VERSION
                                             "\nMigration Protocol Versions: 0\n");
    CHECK(contains(printed(persona({})), "--api-socket"));
}

TEST_CASE("doctor is parsed with and without --json") {
    const auto json = [](std::vector<const char*> words) {
        const auto command = parse_words(std::move(words));
        REQUIRE(command);
        return std::get<DoctorCommand>(*command).json;
    };
    CHECK_FALSE(json({"doctor"}));
    CHECK(json({"doctor", "--json"}));
}

TEST_CASE("an error is one line whatever the value holds") {
    const auto command = parse_words({"run", "--kernel", "k", "--cpus", "1\n\x1b[2Jhako: all is well"});
    REQUIRE_FALSE(command);
    const std::string line = error_line(command.error());
    CHECK(line.starts_with("hako: --cpus 1\\x0a\\x1b[2J"));
    CHECK(line.find('\n') == line.size() - 1);
    CHECK(line.find('\x1b') == std::string::npos);
    const std::string endless(100000, 'x');
    CHECK(error_line(Error(Fault::kInput, endless)).size() < 2000);
}

TEST_CASE("input errors end with exit code 2 and host errors with 1") {
    CHECK(static_cast<int>(exit_code(Fault::kInput)) == 2);
    CHECK(static_cast<int>(exit_code(Fault::kHost)) == 1);
    for (std::size_t i = 0; i < kExitCodes.size(); ++i)
        CHECK(static_cast<std::size_t>(kExitCodes[i].code) == i);
}
