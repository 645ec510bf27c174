#include <doctest/doctest.h>
#include <fcntl.h>

#include <string>
#include <string_view>
#include <vector>

#include "api/json/codec.h"
#include "api/schema/console.h"
#include "api/schema/device.h"
#include "api/schema/disk.h"
#include "api/schema/net.h"
#include "api/schema/refusal.h"
#include "virtio/net/mac.h"

using namespace hako;
using namespace hako::api;

namespace {

const json::Place kBody;
const json::Place kDisks{.outer = &kBody, .name = "disks"};
const json::Place kSecondDisk{.outer = &kDisks, .name = {}, .index = 1};

Result<virtio::blk::Config> disk(std::string_view text) {
    const DiskConfig config = HAKO_TRY(json::decode<DiskConfig>(text));
    return to_machine(config, kSecondDisk);
}

Result<virtio::net::Config> net(std::string_view text, std::size_t fd_count = 0) {
    const NetConfig config = HAKO_TRY(json::decode<NetConfig>(text));
    std::vector<Fd> fds;
    for (std::size_t index = 0; index < fd_count; ++index)
        fds.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
    return to_machine(config, fds);
}

Result<virtio::console::Config> console_device(std::string_view text) {
    const auto config = HAKO_TRY(json::decode<VmAddConsole>(text));
    return to_machine(config);
}

/// The last cause of a refusal of the client's input.
template <typename T>
std::string cause(const Result<T>& result) {
    if (result) return "taken";
    CHECK(result.error().fault() == Fault::kInput);
    return result.error().chain().back();
}

}  // namespace

TEST_CASE("a disk as Kata sends it") {
    const auto config = disk(
        R"({"path":"/img","readonly":true,"image_type":"Raw","direct":false,"iommu":false,"num_queues":4,
            "queue_size":1024,"vhost_user":false,"backing_files":false,"sparse":true,"id":"root",
            "pci_segment":0,"lock_granularity":"Full","queue_affinity":[{"queue_index":0,"host_cpus":[1]}],
            "rate_limiter_config":{"bandwidth":{"size":1000,"one_time_burst":null,"refill_time":100},
                                   "ops":{"size":10,"one_time_burst":5,"refill_time":1000}}})");
    REQUIRE(config);
    CHECK(config->path == "/img");
    CHECK(config->readonly);
    CHECK(config->direct == false);
    CHECK(config->queues == 4);
    CHECK(config->queue_size == 1024);
    CHECK(config->id == "root");
    CHECK(config->serial == "root");
    CHECK(config->limits.bytes == io::Rate{.tokens = 1000, .interval = std::chrono::milliseconds(100)});
    CHECK(config->limits.operations ==
          io::Rate{.tokens = 10, .interval = std::chrono::milliseconds(1000), .one_time_burst = 5});
    // What vm.info says of it can be given again.
    const auto again = json::decode<DiskConfig>(std::string_view(json::encode(from_machine(*config))));
    REQUIRE(again);
    CHECK(to_machine(*again) == *config);

    const auto least = disk(R"({"path":"/img","id":"a"})");
    REQUIRE(least);
    CHECK_FALSE(least->readonly);
    CHECK_FALSE(least->direct);
    CHECK(least->queues == 1);
    CHECK(least->queue_size == 128);
    CHECK(least->limits == io::RateLimits{});
    CHECK(disk(R"({"path":"/img","id":"ua-virtio-disk-number-0"})")->serial == "ua-virtio-disk-numbe");
}

TEST_CASE("what a disk cannot be is refused by its field") {
    CHECK(cause(disk(R"({"id":"a"})")) ==
          R"(disks[1].path: an image file or a block device is wanted, not "")");
    CHECK(cause(disk(R"({"path":"/i","id":"a","queue_size":100})")) ==
          R"(disks[1].queue_size: a power of two is wanted, not "100")");
    CHECK(cause(disk(R"({"path":"/i","id":"a","num_queues":65})")) ==
          "num_queues: a whole number from 1 to 64 is wanted, not 65");
    CHECK(cause(disk(R"({"path":"/i","id":"__a"})")).find("hako's own ids") != std::string::npos);
    CHECK(cause(disk(R"({"path":"/i","id":""})")).starts_with("disks[1].id: a text of 1 to 64"));
    CHECK(cause(disk(R"({"path":"/i","id":"a/b"})")).starts_with("disks[1].id: a text of 1 to 64"));
    CHECK(cause(disk(R"({"path":"/i","id":"a","serial":"123456789012345678901"})"))
              .starts_with("disks[1].serial: a text of at most 20"));
    CHECK(cause(disk(R"({"path":"/i","id":"a","image_type":"Qcow2"})")) ==
          "disks[1].image_type: hako does not support this: convert the image to Raw");
    for (const char* field : {R"("vhost_user":true)", R"("vhost_socket":"/s")", R"("iommu":true)",
                              R"("rate_limit_group":"g")", R"("pci_device_id":5)"}) {
        CAPTURE(field);
        CHECK(cause(disk(std::string(R"({"path":"/i","id":"a",)").append(field).append("}")))
                  .find("hako does not support this") != std::string::npos);
    }
    CHECK(cause(disk(R"({"path":"/i","id":"a",
                         "rate_limiter_config":{"bandwidth":{"size":1,"refill_time":1000000001}}})"))
              .starts_with("rate_limiter_config.bandwidth.refill_time: a whole number"));
}

TEST_CASE("a network interface as Kata sends it, with its taps beside it") {
    constexpr std::string_view kText =
        R"({"id":"net0","mac":"02:00:5e:10:00:01","ip":"192.168.0.9","mask":"255.255.255.0","num_queues":4,
            "queue_size":512,"mtu":1400,"vhost_user":false,"vhost_mode":"Client","offload_tso":true,
            "offload_ufo":true,"offload_csum":true,"iommu":false,"fds":[-1],
            "rate_limiter_config":{"ops":{"size":7,"refill_time":10}}})";
    const auto config = net(kText, 2);
    REQUIRE(config);
    CHECK(config->id == "net0");
    CHECK(config->tap.empty());
    CHECK(config->fds.size() == 2);
    CHECK(config->fds[0] != config->fds[1]);
    CHECK(config->queue_pairs == 2);
    CHECK(config->queue_size == 512);
    CHECK(config->mtu == 1400);
    CHECK(virtio::net::mac_text(config->mac.value()) == "02:00:5e:10:00:01");
    CHECK(config->limits.rx.operations.tokens == 7);
    CHECK(config->limits.tx == config->limits.rx);
    CHECK(config->limits.rx.bytes == io::Rate{});
    CHECK(cause(net(kText, 1)) == R"(num_queues: twice the number of descriptors, 2, is wanted, not "4")");
    CHECK(cause(net(kText, 3)).starts_with("num_queues"));

    const auto least = net(R"({"id":"a","tap":"tap0"})");
    REQUIRE(least);
    CHECK(least->tap == "tap0");
    CHECK(least->queue_pairs == 1);
    CHECK(least->queue_size == 256);
    CHECK_FALSE(least->mac);
    CHECK(net(R"({"id":"a"})")->tap == "vmtap%d");
    CHECK(net(R"({"id":"a","ip":"192.168.249.1"})"));
    CHECK(net(R"({"id":"a","socket":"/run/passt"})")->socket == "/run/passt");
    CHECK(net(R"({"id":"a","vhost":true})")->vhost);

    const auto tap = net(R"({"id":"a","tap":"tap0","mac":"02:00:5e:10:00:01","mtu":68,"num_queues":16})");
    REQUIRE(tap);
    const auto again = json::decode<NetConfig>(std::string_view(json::encode(from_machine(*tap))));
    REQUIRE(again);
    CHECK(to_machine(*again) == *tap);
}

TEST_CASE("what a network interface cannot be is refused by its field") {
    CHECK(cause(net(R"({"id":"a","mtu":67})")) == "mtu: a whole number from 68 to 65535 is wanted, not 67");
    CHECK(cause(net(R"({"id":"a","num_queues":3})")).starts_with("num_queues: two for each pair"));
    CHECK(cause(net(R"({"id":"a","num_queues":18})")) ==
          "num_queues: a whole number from 2 to 16 is wanted, not 18");
    CHECK(cause(net(R"({"id":"a","queue_size":300})")).starts_with("queue_size: a power of two"));
    CHECK(cause(net(R"({"id":"a","mac":"01:00:5e:00:00:01"})")).starts_with("mac: a unicast address"));
    CHECK(cause(net(R"({"id":"a","tap":"a tap"})")).starts_with("tap: a text of at most 15"));
    CHECK(cause(net(R"({"id":"a","tap":""})")).starts_with("tap: a text of at most 15"));
    CHECK(cause(net(R"({"id":"a","tap":"tap0"})", 1)).starts_with("tap: no tap beside"));
    CHECK(cause(net(R"({"id":"a","socket":"/s"})", 1)).starts_with("socket: no socket beside"));
    CHECK(cause(net(R"({"id":"a","socket":"/s","tap":"t"})")).starts_with("tap: no tap beside"));
    CHECK(cause(net(R"({"id":"a","socket":""})")).starts_with("socket: a path of 1"));
    CHECK(cause(net(R"({"id":"a","socket":"/s","num_queues":4})")).starts_with("num_queues: 2"));
    CHECK(cause(net(R"({"id":"__net"})")).starts_with("id: "));
    for (const char* field : {R"("vhost_user":true)", R"("iommu":true)", R"("pci_device_id":5)",
                              R"("ip":"10.0.0.1")", R"("host_mac":"02:00:5e:10:00:01")",
                              R"("vhost":true,"socket":"/s")", R"("vhost":true,"rate_limiter_config":{})"}) {
        CAPTURE(field);
        CHECK(cause(net(std::string(R"({"id":"a",)").append(field).append("}")))
                  .find("hako does not support this") != std::string::npos);
    }
}

TEST_CASE("limits of the command line become buckets") {
    io::RateLimits limits;
    CHECK_FALSE(from_machine(limits));
    limits.bytes = {.tokens = 1'000'000, .burst = 100'000};
    const auto config = from_machine(limits);
    REQUIRE(config);
    CHECK_FALSE(config->ops);
    CHECK(config->bandwidth->size == 100'000);
    CHECK(config->bandwidth->refill_time == 100);
}

TEST_CASE("ids that nobody gave are numbered") {
    CHECK(free_id("_disk", [](std::string_view) { return false; }) == "_disk0");
    CHECK(free_id("_net", [](std::string_view id) { return id == "_net0" || id == "_net1"; }) == "_net2");
    CHECK(json::encode(PciDeviceInfo{.id = "_disk3", .bdf = "0000:00:06.0"}) ==
          R"({"id":"_disk3","bdf":"0000:00:06.0"})");
    CHECK_FALSE(json::decode<VmRemoveDevice>(std::string_view("{}")));
    CHECK(json::decode<VmRemoveDevice>(std::string_view(R"({"id":"x"})"))->id == "x");
}

TEST_CASE("a virtio console with named ports") {
    const auto config = console_device(
        R"({"id":"c","mode":"File","file":"/log","socket":"/s",
            "ports":[{"name":"org.qemu.guest_agent.0","socket":"/agent"},{"name":"b","mode":"Null"}]})");
    REQUIRE(config);
    CHECK(config->id == "c");
    CHECK(config->console ==
          hako::console::Config{.mode = hako::console::Mode::kFile, .path = "/log", .socket = "/s"});
    REQUIRE(config->ports.size() == 2);
    CHECK(config->ports[0].name == "org.qemu.guest_agent.0");
    CHECK(config->ports[0].host ==
          hako::console::Config{.mode = hako::console::Mode::kSocket, .path = {}, .socket = "/agent"});
    CHECK(config->ports[1].host.path == "/dev/null");
    CHECK(console_device(R"({"id":"c","ports":[{"name":"a","mode":"Pty"}]})")->console.mode ==
          hako::console::Mode::kOff);
}

TEST_CASE("a virtio console that cannot be is refused by its field") {
    CHECK(cause(console_device(R"({"id":"c"})")) == "give a mode for the console, ports, or both");
    CHECK(cause(console_device(R"({"id":"__c","mode":"Pty"})")).starts_with("id: "));
    CHECK(cause(console_device(R"({"id":"c","mode":"Socket"})")).starts_with("socket: a path of 1 to 107"));
    CHECK(cause(console_device(R"({"id":"c","mode":"File"})")).starts_with("file: the path of a file"));
    CHECK(cause(console_device(R"({"id":"c","ports":[{"name":"","mode":"Pty"}]})"))
              .starts_with("ports[0].name: 1 to 64 letters"));
    CHECK(
        cause(console_device(R"({"id":"c","ports":[{"name":"a","mode":"Pty"},{"name":"b/c","mode":"Pty"}]})"))
            .starts_with("ports[1].name: 1 to 64 letters"));
    CHECK(cause(console_device(R"({"id":"c","ports":[{"name":"a","mode":"Pty"},{"name":"a","mode":"Pty"}]})"))
              .starts_with("ports[1].name: a name of its own"));
    CHECK(cause(console_device(R"({"id":"c","ports":[{"name":"a","mode":"Off"}]})"))
              .starts_with("ports[0].mode: a place"));
    std::string many = R"({"id":"c","ports":[)";
    for (int i = 0; i < 16; ++i)
        many += std::string(i == 0 ? "" : ",") + R"({"name":"p)" + std::to_string(i) + R"(","mode":"Null"})";
    CHECK(cause(console_device(many + "]}")).starts_with("ports: at most 15 ports"));
}
