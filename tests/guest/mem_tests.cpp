// A driver of the memory device (virtio 1.3, 5.15), as small as a test needs.
#include "tests.h"
#include "virtio.h"

namespace guest {
namespace {

Rings mem_rings;

constexpr std::uint16_t kMemDevice = 24;
constexpr std::uint64_t kUnpluggedInaccessible = 1 << 1;
constexpr std::uint16_t kPlug = 0;
constexpr std::uint16_t kUnplug = 1;
constexpr std::uint16_t kUnplugAll = 2;
constexpr std::uint16_t kState = 3;
constexpr std::uint64_t kAck = 0;
constexpr std::uint64_t kNack = 1;
constexpr std::uint64_t kBusy = 2;
constexpr std::uint64_t kError = 3;
/// Of one request.
constexpr std::uint64_t kMost = 16;
/// Between two words that are written: one page in 64.
constexpr std::uint64_t kStride = 256 << 10;

struct Request {
    std::uint64_t type;
    std::uint64_t address;
    std::uint64_t blocks;
};
struct Response {
    std::uint16_t type;
    std::uint16_t padding[3];
    std::uint16_t state;
};
Request request;
Response response;

std::uint64_t field(VirtioPci& device, std::uint64_t offset) {
    return mmio_read<std::uint32_t>(device.device_config() + offset) |
           std::uint64_t{mmio_read<std::uint32_t>(device.device_config() + offset + 4)} << 32;
}

std::uint64_t ask(VirtioPci& device, std::uint16_t type, std::uint64_t address, std::uint64_t blocks) {
    request = {type, address, blocks};
    response = {0xffff, {}, 0xffff};
    mem_rings.descriptors[0] = {reinterpret_cast<std::uint64_t>(&request), sizeof request, kNext, 1};
    mem_rings.descriptors[1] = {reinterpret_cast<std::uint64_t>(&response), 10, kWrite, 0};
    device.carry_out(mem_rings);
    return response.type;
}

volatile std::uint64_t& word_at(std::uint64_t address) {
    return *reinterpret_cast<volatile std::uint64_t*>(address);
}

}  // namespace

/// Plugs and unplugs as it is asked to, the last block first, and says so; each block keeps what was written
/// into it, whatever happens to the VM meanwhile. Says each round. With one block wanted it ends.
void test_mem() {
    enable_apic();
    VirtioPci device = find_device(kMemDevice);
    CHECK((device.offered() & kUnpluggedInaccessible) != 0);
    device.negotiate(kVersion1 | kUnpluggedInaccessible);
    device.set_up(mem_rings, kQueueInterrupt, kConfigInterrupt);
    device.driver_ok();
    const std::uint64_t block = field(device, 0);
    const std::uint64_t region = field(device, 16);
    const std::uint64_t size = field(device, 24);
    CHECK(block == 2 << 20 && region % block == 0 && size % block == 0);
    CHECK(field(device, 32) == size);
    CHECK(field(device, 40) == 0);
    for (std::uint64_t at = region; at < region + size; at += block)
        map(at);
    CHECK(ask(device, kPlug, region + 4096, 1) == kError);
    CHECK(ask(device, kUnplug, region, 1) == kError);
    CHECK(ask(device, kUnplugAll, 0, 0) == kAck);
    CHECK(ask(device, kState, region, 1) == kAck && response.state == 1);
    print("ready\n");
    std::uint64_t has = 0;
    for (std::uint64_t round = 1;; ++round) {
        const std::uint64_t wanted = field(device, 48) / block;
        const std::uint64_t before = has;
        CHECK(wanted <= size / block);
        while (has < wanted) {
            const std::uint64_t count = wanted - has < kMost ? wanted - has : kMost;
            const std::uint64_t from = region + has * block;
            const std::uint64_t answer = ask(device, kPlug, from, count);
            if (answer == kNack || answer == kBusy) break;  // less is wanted meanwhile, or there is no more
            CHECK(answer == kAck);
            for (std::uint64_t at = from; at < from + count * block; at += kStride)
                word_at(at) = at;
            has += count;
        }
        while (has > wanted) {
            const std::uint64_t count = has - wanted < kMost ? has - wanted : kMost;
            CHECK(ask(device, kUnplug, region + (has - count) * block, count) == kAck);
            has -= count;
        }
        for (std::uint64_t at = region; at < region + has * block; at += kStride)
            if (word_at(at) != at) fail("a plugged block has lost what is in it", __FILE_NAME__, __LINE__);
        CHECK(field(device, 40) == has * block);
        if (has != before) {
            print("has ");
            print_hex(has);
            print(" blocks\n");
        }
        print("round ");
        print_hex(round);
        print("\n");
        if (wanted == 1 && has == 1) return;
    }
}

/// Has plugged all that is wanted by the time it says ready, and answers nothing.
void test_mem_kept() {
    enable_apic();
    VirtioPci device = find_device(kMemDevice);
    device.negotiate(kVersion1);
    device.set_up(mem_rings, kQueueInterrupt, kConfigInterrupt);
    device.driver_ok();
    const std::uint64_t block = field(device, 0);
    const std::uint64_t region = field(device, 16);
    CHECK(field(device, 40) == 0);
    for (std::uint64_t at = region; field(device, 40) < field(device, 48); at += block)
        CHECK(ask(device, kPlug, at, 1) == kAck);
    print("ready\n");
    for (std::uint64_t round = 1;; ++round) {
        print("round ");
        print_hex(round);
        print("\n");
    }
}

}  // namespace guest
