#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <vector>

#include "tests/unit/virtio/driver_queue.h"
#include "tests/unit/virtio/fake_transport.h"
#include "virtio/mem/device.h"
#include "vmm/memory/layout.h"

using namespace hako;
using namespace hako::virtio;
using namespace hako::virtio::mem;
using test::Buffer;
using test::DriverQueue;

namespace {

constexpr GuestAddress kRings{64 * KiB};
constexpr GuestAddress kRequest{1 * MiB};
constexpr GuestAddress kResponse{1 * MiB + 4 * KiB};
constexpr std::uint64_t kBlock = 2 * MiB;
constexpr std::uint64_t kRoom = 256 * MiB;
constexpr std::uint64_t kBlocks = kRoom / kBlock;
constexpr GuestAddress kRegion{layout::kHighRam};

MemoryConfig config_with(std::uint64_t requested) {
    return {.size = 16 * MiB,
            .room = kRoom,
            .plugged = requested,
            .growth = MemoryGrowth::kVirtioMem,
            .thp = false};
}

/// A driver, and the memory it shares with the device.
struct Mem {
    explicit Mem(std::uint64_t requested = kRoom, const std::optional<State>& state = std::nullopt,
                 bool populate = false)
        : memory(GuestMemory::create(config_with(requested)).value()),
          device(MemDevice::create(config_for(requested, populate), memory, *engine, state).value()) {}
    ~Mem() { device->reset(); }

    static Config config_for(std::uint64_t requested, bool populate) {
        Config config = config_of(config_with(requested)).value();
        config.populate = populate;
        return config;
    }
    void activate(std::span<const QueuePosition> positions = {}) {
        const std::array queues = {driver->config()};
        REQUIRE(device->activate({.features = device->features() & ~virtio::feature::kEventIdx,
                                  .memory = memory,
                                  .hooks = transport,
                                  .queues = queues,
                                  .kicks = transport.kicks,
                                  .positions = positions}));
    }
    void offer(const std::vector<Buffer>& buffers) {
        REQUIRE(driver->add(buffers));
        driver->publish();
        transport.kicks[0].signal();
    }
    std::optional<DriverQueue::Used> await() {
        for (;;) {
            if (const auto used = driver->take_used()) return used;
            if (!test::wait_for(transport.interrupts[0])) return std::nullopt;
        }
    }
    void put(const Request& request) { REQUIRE(memory.store(kRequest, request)); }
    Response answer() {
        const auto used = await();
        REQUIRE(used);
        CHECK(used->written == sizeof(Response));
        return memory.load<Response>(kResponse).value();
    }
    Response ask(RequestType type, std::uint64_t address = 0, std::uint16_t blocks = 0) {
        // Padding says nothing.
        put({.type = type, .padding = {1, 2, 3}, .addr = address, .nb_blocks = blocks, .more_padding = {9}});
        offer({{kRequest, sizeof(Request), false}, {kResponse, sizeof(Response), true}});
        return answer();
    }
    ResponseType ask_block(RequestType type, std::uint64_t first, std::uint16_t blocks = 1) {
        return ask(type, kRegion.value + first * kBlock, blocks).type;
    }
    BlockState state_of(std::uint64_t first, std::uint16_t blocks) {
        const Response response = ask(RequestType::kState, kRegion.value + first * kBlock, blocks);
        CHECK(response.type == ResponseType::kAck);
        return response.state;
    }
    /// What there was to give back is given back after this: each round of the io thread does a piece.
    void settle() const {
        for (int round = 0; round < 100; ++round)
            engine->run_sync([] {});
    }
    void touch(std::uint64_t first, std::uint64_t blocks) {
        for (std::uint64_t at = first * kBlock; at < (first + blocks) * kBlock; at += kPageSize)
            REQUIRE(memory.store(kRegion + at, std::uint64_t{0xfeed}));
    }
    [[nodiscard]] std::uint64_t word(std::uint64_t block) const {
        return memory.load<std::uint64_t>(kRegion + block * kBlock).value();
    }
    /// Bytes of memory that the host has for the guest.
    [[nodiscard]] std::uint64_t resident() const {
        struct stat status{};
        REQUIRE(::fstat(memory.fd(), &status) == 0);
        return static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    [[nodiscard]] ConfigSpace config() const {
        ConfigSpace space;
        device->read_config(0, std::as_writable_bytes(std::span(&space, 1)));
        return space;
    }

    GuestMemory memory;
    test::FakeTransport transport{1};
    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    std::unique_ptr<MemDevice> device;
    std::optional<DriverQueue> driver{std::in_place, memory, kRings, MemDevice::kQueueSize};
};

}  // namespace

TEST_CASE("blocks are plugged and unplugged, and the host has the memory of those that went") {
    Mem mem;
    mem.activate();
    const std::uint64_t before = mem.resident();
    CHECK(mem.ask_block(RequestType::kPlug, 3, 20) == ResponseType::kAck);
    CHECK(mem.device->plugged() == 20 * kBlock);
    CHECK(mem.config().plugged_size == 20 * kBlock);
    CHECK(mem.state_of(3, 20) == BlockState::kPlugged);
    CHECK(mem.state_of(0, 3) == BlockState::kUnplugged);
    CHECK(mem.state_of(22, 2) == BlockState::kMixed);
    CHECK(mem.state_of(0, kBlocks) == BlockState::kMixed);
    mem.touch(3, 20);
    CHECK(mem.resident() >= before + 20 * kBlock);
    CHECK(mem.ask_block(RequestType::kUnplug, 4, 18) == ResponseType::kAck);
    CHECK(mem.device->plugged() == 2 * kBlock);
    mem.settle();
    CHECK(mem.resident() <= before + 2 * kBlock + 64 * KiB);
    CHECK(mem.word(3) == 0xfeed);
    CHECK(mem.word(22) == 0xfeed);
    CHECK(mem.word(10) == 0);
    CHECK(mem.ask(RequestType::kUnplugAll).type == ResponseType::kAck);
    mem.settle();
    CHECK(mem.device->plugged() == 0);
    CHECK(mem.word(3) == 0);
    CHECK(mem.state_of(0, kBlocks) == BlockState::kUnplugged);
    const Metrics metrics = mem.device->metrics();
    CHECK(metrics.discarded == 20 * kBlock);
    CHECK(metrics.requests == 8);
    CHECK(metrics.errors == 0);
    CHECK(metrics.refused == 0);
    CHECK(metrics.kept == 0);
}

TEST_CASE("the driver sees what the region is, and hears when something else is wanted") {
    Mem mem(0);
    const ConfigSpace fresh = mem.config();
    CHECK(fresh.block_size == kBlock);
    CHECK(fresh.addr == kRegion.value);
    CHECK(fresh.region_size == kRoom);
    CHECK(fresh.usable_region_size == kRoom);
    CHECK(fresh.plugged_size == 0);
    CHECK(fresh.requested_size == 0);
    mem.device->resize(kBlock);  // nobody is there to hear of it
    mem.activate();
    CHECK_FALSE(test::wait_for(mem.transport.config_change, std::chrono::milliseconds(0)));
    mem.device->resize(4 * kBlock);
    CHECK(test::wait_for(mem.transport.config_change));
    CHECK(mem.config().requested_size == 4 * kBlock);
    mem.device->resize(4 * kBlock);
    CHECK_FALSE(test::wait_for(mem.transport.config_change, std::chrono::milliseconds(0)));
    // It is the device's alone.
    const ConfigSpace other{.block_size = 1, .addr = 2, .requested_size = 3};
    mem.device->write_config(0, std::as_bytes(std::span(&other, 1)));
    CHECK(mem.config().requested_size == 4 * kBlock);
    std::array<std::byte, 64> beyond{};
    beyond.fill(std::byte{0xaa});
    mem.device->read_config(48, beyond);
    CHECK(beyond[0] == std::byte{0});
    CHECK(beyond[1] == std::byte{0});
    CHECK(beyond[2] == std::byte{0x80});
    for (std::size_t at = 8; at < beyond.size(); ++at)
        CHECK(beyond[at] == std::byte{0});
    mem.device->read_config(UINT32_MAX, beyond);
    CHECK(beyond[0] == std::byte{0});
}

TEST_CASE("no more is plugged than is asked for, and a shrink that is not carried out shows") {
    Mem mem(4 * kBlock);
    mem.activate();
    CHECK(mem.ask_block(RequestType::kPlug, 0, 5) == ResponseType::kNack);
    CHECK(mem.ask_block(RequestType::kPlug, 7, 3) == ResponseType::kAck);
    CHECK(mem.ask_block(RequestType::kPlug, 0, 2) == ResponseType::kNack);
    CHECK(mem.ask_block(RequestType::kPlug, 0, 1) == ResponseType::kAck);
    mem.device->resize(kBlock);
    CHECK(mem.device->requested() == kBlock);
    CHECK(mem.device->plugged() == 4 * kBlock);
    CHECK(mem.ask_block(RequestType::kPlug, 1, 1) == ResponseType::kNack);
    CHECK(mem.ask_block(RequestType::kPlug, 20, 100) == ResponseType::kNack);
    CHECK(mem.device->metrics().refused == 4);
    CHECK(mem.ask_block(RequestType::kUnplug, 7, 3) == ResponseType::kAck);
    CHECK(mem.ask_block(RequestType::kPlug, 5, 1) == ResponseType::kNack);
    CHECK(mem.device->plugged() == kBlock);
}

TEST_CASE("requests that are wrong are answered with an error and change nothing") {
    Mem mem;
    mem.activate();
    REQUIRE(mem.ask_block(RequestType::kPlug, 10, 4) == ResponseType::kAck);
    const State before = mem.device->state();
    const std::uint64_t region = kRegion.value;
    for (const RequestType type : {RequestType::kPlug, RequestType::kUnplug, RequestType::kState}) {
        CHECK(mem.ask(type, region, 0).type == ResponseType::kError);
        CHECK(mem.ask(type, region + 1, 1).type == ResponseType::kError);
        CHECK(mem.ask(type, region + kBlock / 2, 1).type == ResponseType::kError);
        CHECK(mem.ask(type, region - kBlock, 2).type == ResponseType::kError);
        CHECK(mem.ask(type, 0, 1).type == ResponseType::kError);
        CHECK(mem.ask(type, region + kRoom, 1).type == ResponseType::kError);
        CHECK(mem.ask(type, region + kRoom - kBlock, 2).type == ResponseType::kError);
        CHECK(mem.ask(type, region, kBlocks + 1).type == ResponseType::kError);
        CHECK(mem.ask(type, region, UINT16_MAX).type == ResponseType::kError);
        CHECK(mem.ask(type, ~std::uint64_t{0} / kBlock * kBlock, UINT16_MAX).type == ResponseType::kError);
        CHECK(mem.ask(type, ~std::uint64_t{0}, 1).type == ResponseType::kError);
    }
    CHECK(mem.ask_block(RequestType::kPlug, 9, 2) == ResponseType::kError);     // one is plugged already
    CHECK(mem.ask_block(RequestType::kUnplug, 12, 3) == ResponseType::kError);  // one is not
    CHECK(mem.ask_block(RequestType::kUnplug, 0, kBlocks) == ResponseType::kError);
    CHECK(mem.ask(static_cast<RequestType>(4), region, 1).type == ResponseType::kError);
    CHECK(mem.ask(static_cast<RequestType>(UINT16_MAX), region, 1).type == ResponseType::kError);
    CHECK(mem.device->state() == before);
    CHECK(mem.device->metrics().errors == 33 + 5);
    CHECK(mem.state_of(10, 4) == BlockState::kPlugged);
}

TEST_CASE("buffers that are no request harm nobody") {
    Mem mem;
    mem.activate();
    const std::uint64_t address = kRegion.value;
    mem.put({.type = RequestType::kPlug, .padding = {}, .addr = address, .nb_blocks = 1, .more_padding = {}});
    // Too short, or nothing at all: an error, if there is room for it.
    mem.offer({{kRequest, 23, false}, {kResponse, 10, true}});
    CHECK(mem.answer().type == ResponseType::kError);
    mem.offer({{kResponse, 10, true}});
    CHECK(mem.answer().type == ResponseType::kError);
    CHECK(mem.device->plugged() == 0);
    // No room, or not enough, for the answer.
    mem.offer({{kRequest, sizeof(Request), false}});
    CHECK(mem.await()->written == 0);
    CHECK(mem.device->plugged() == kBlock);
    mem.put(
        {.type = RequestType::kUnplug, .padding = {}, .addr = address, .nb_blocks = 1, .more_padding = {}});
    mem.offer({{kRequest, sizeof(Request), false}, {kResponse, 9, true}});
    CHECK(mem.await()->written == 9);
    CHECK(mem.device->plugged() == 0);
    CHECK(mem.device->metrics().errors == 4);
    // Cut into any pieces.
    mem.put({.type = RequestType::kPlug, .padding = {}, .addr = address, .nb_blocks = 2, .more_padding = {}});
    mem.offer({{kRequest, 1, false},
               {kRequest + 1, 11, false},
               {kRequest + 12, 12, false},
               {kResponse, 3, true},
               {kResponse + 3, 4096, true}});
    CHECK(mem.answer().type == ResponseType::kAck);
    CHECK(mem.device->plugged() == 2 * kBlock);
    // Longer ones.
    mem.put({.type = RequestType::kUnplugAll, .padding = {}, .addr = 7, .nb_blocks = 9, .more_padding = {}});
    mem.offer({{kRequest, 2048, false}, {kResponse, 2048, true}});
    CHECK(mem.answer().type == ResponseType::kAck);
    CHECK(mem.device->plugged() == 0);
    // One outside of memory breaks the queue.
    mem.offer({{GuestAddress{1024 * GiB}, sizeof(Request), false}, {kResponse, 10, true}});
    CHECK(test::wait_for(mem.transport.reset_wanted));
}

TEST_CASE("a driver that starts anew finds the blocks as they were, and its answers still go out") {
    Mem mem;
    mem.activate();
    REQUIRE(mem.ask_block(RequestType::kPlug, 0, 4) == ResponseType::kAck);
    mem.touch(0, 4);
    mem.device->reset();
    CHECK(mem.device->plugged() == 4 * kBlock);
    CHECK(mem.word(2) == 0xfeed);
    mem.driver.emplace(mem.memory, kRings, MemDevice::kQueueSize);
    mem.activate();
    CHECK(mem.state_of(0, 4) == BlockState::kPlugged);
    CHECK(mem.word(2) == 0xfeed);
}

TEST_CASE("while it is paused nothing is answered and nothing is given back") {
    Mem mem;
    mem.activate();
    REQUIRE(mem.ask_block(RequestType::kPlug, 0, 40) == ResponseType::kAck);
    mem.touch(0, 40);
    mem.device->pause();
    mem.put({.type = RequestType::kUnplugAll, .padding = {}, .addr = 0, .nb_blocks = 0, .more_padding = {}});
    mem.offer({{kRequest, sizeof(Request), false}, {kResponse, sizeof(Response), true}});
    mem.settle();
    CHECK_FALSE(mem.driver->take_used());
    CHECK(mem.device->plugged() == 40 * kBlock);
    mem.device->resume();
    CHECK(mem.answer().type == ResponseType::kAck);
    mem.settle();
    CHECK(mem.device->metrics().discarded == 40 * kBlock);
}

TEST_CASE("where memory is still to come nothing is given back, and drivers do not wait for it") {
    Mem mem;
    mem.activate();
    REQUIRE(mem.ask_block(RequestType::kPlug, 0, 4) == ResponseType::kAck);
    mem.touch(0, 4);
    mem.memory.discard_gate()->close();
    CHECK(mem.ask_block(RequestType::kUnplug, 0, 3) == ResponseType::kAck);
    mem.settle();
    CHECK(mem.word(2) == 0xfeed);
    // One that is plugged again meanwhile is not taken away any more.
    CHECK(mem.ask_block(RequestType::kPlug, 1, 1) == ResponseType::kAck);
    mem.memory.discard_gate()->open();
    while (mem.device->metrics().discarded < 2 * kBlock)
        mem.settle();
    CHECK(mem.word(0) == 0);
    CHECK(mem.word(1) == 0xfeed);
    CHECK(mem.word(2) == 0);
    CHECK(mem.word(3) == 0xfeed);
    // It ends with the device all the same.
    mem.memory.discard_gate()->close();
    CHECK(mem.ask(RequestType::kUnplugAll).type == ResponseType::kAck);
    mem.device->pause();
    CHECK(mem.word(3) == 0xfeed);
    mem.memory.discard_gate()->open();
    mem.device->resume();
    while (mem.device->metrics().discarded < 4 * kBlock)
        mem.settle();
    CHECK(mem.word(3) == 0);
}

TEST_CASE(
    "blocks that are to be populated are there when they are plugged, and wait for a pause in between") {
    Mem mem(kRoom, std::nullopt, true);
    mem.activate();
    const std::uint64_t before = mem.resident();
    CHECK(mem.ask_block(RequestType::kPlug, 1, 30) == ResponseType::kAck);
    CHECK(mem.resident() >= before + 30 * kBlock);
    CHECK(mem.ask_block(RequestType::kPlug, 30, 2) == ResponseType::kError);
    mem.put({.type = RequestType::kPlug,
             .padding = {},
             .addr = kRegion.value + 40 * kBlock,
             .nb_blocks = 80,
             .more_padding = {}});
    mem.offer({{kRequest, sizeof(Request), false}, {kResponse, sizeof(Response), true}});
    mem.device->pause();
    const std::uint64_t plugged = mem.device->plugged();
    CHECK((plugged == 30 * kBlock || plugged == 110 * kBlock));
    const auto positions = mem.device->queue_positions();
    CHECK(positions[0].next_avail == positions[0].next_used);
    mem.device->resume();
    CHECK(mem.answer().type == ResponseType::kAck);
    CHECK(mem.device->plugged() == 110 * kBlock);
    CHECK(mem.resident() >= before + 110 * kBlock);
}

TEST_CASE("a device goes on from its state, and gives back what came along in unplugged blocks") {
    Mem first(64 * kBlock);
    first.activate();
    REQUIRE(first.ask_block(RequestType::kPlug, 2, 3) == ResponseType::kAck);
    first.device->pause();
    const State state = first.device->state();
    CHECK(state.requested == 64 * kBlock);
    CHECK(state.plugged == std::vector<std::uint64_t>{0b11100, 0});

    Mem second(64 * kBlock, state);
    second.touch(0, 40);
    CHECK(second.device->state() == state);
    second.device->pause();
    second.settle();
    CHECK(second.word(0) == 0xfeed);
    second.device->resume();
    second.settle();
    CHECK(second.word(0) == 0);
    CHECK(second.word(3) == 0xfeed);
    CHECK(second.word(39) == 0);
    CHECK(second.device->plugged() == 3 * kBlock);
    CHECK(second.config().requested_size == 64 * kBlock);
}

TEST_CASE("a restored device that was never paused looks at its unplugged blocks once its driver goes on") {
    Mem first;
    State state = first.device->state();
    state.plugged[0] = 2;
    Mem mem(kRoom, state);
    mem.touch(0, 3);
    mem.settle();
    CHECK(mem.word(0) == 0xfeed);
    mem.activate();
    mem.settle();
    CHECK(mem.word(0) == 0);
    CHECK(mem.word(1) == 0xfeed);
    CHECK(mem.word(2) == 0);
}

TEST_CASE("states that do not fit are refused") {
    const auto engine = io::Engine::create().value();
    GuestMemory memory = GuestMemory::create(config_with(4 * kBlock)).value();
    const Config config = config_of(config_with(4 * kBlock)).value();
    const State good = MemDevice::create(config, memory, *engine).value()->state();
    CHECK(MemDevice::create(config, memory, *engine, good));
    const auto refused = [&](auto change) {
        State bad = good;
        change(bad);
        const auto made = MemDevice::create(config, memory, *engine, bad);
        REQUIRE_FALSE(made);
        CHECK(made.error().fault() == Fault::kInput);
    };
    refused([](State& state) { state.features |= 1; });
    refused([](State& state) { state.features = 0; });
    refused([](State& state) { state.address += kBlock; });
    refused([](State& state) { state.region_size += kBlock; });
    refused([](State& state) { state.block_size *= 2; });
    refused([](State& state) { state.requested += kBlock; });
    refused([](State& state) { state.plugged.pop_back(); });
    refused([](State& state) { state.plugged.push_back(0); });
    refused([](State& state) { state.plugged.clear(); });
    GuestMemory plain = GuestMemory::create({.size = 16 * MiB, .thp = false}).value();
    CHECK_FALSE(MemDevice::create(config, plain, *engine));
}

TEST_CASE("what cannot be the memory of such a device is refused") {
    const MemoryConfig good = config_with(4 * kBlock);
    CHECK(mem::check(good));
    MemoryConfig bad = good;
    bad.plugged = kBlock / 2;
    CHECK_FALSE(mem::check(bad));
    bad.plugged = kRoom + kBlock;
    CHECK_FALSE(mem::check(bad));
    bad = good;
    bad.hugepages = true;
    CHECK_FALSE(mem::check(bad));
    bad.hugepage_size = 2 * MiB;
    CHECK(mem::check(bad));
    bad.hugepage_size = GiB;
    CHECK_FALSE(mem::check(bad));
    bad.growth = MemoryGrowth::kAcpi;
    CHECK(mem::check(bad));
    CHECK_FALSE(config_of(bad));
    bad = good;
    bad.room = bad.plugged = 0;
    CHECK(mem::check(bad));
    CHECK_FALSE(config_of(bad));

    CHECK(mem::resized(good, 16 * MiB + 8 * kBlock)->plugged == 8 * kBlock);
    CHECK(mem::resized(good, 16 * MiB)->plugged == 0);
    CHECK_FALSE(mem::resized(good, 16 * MiB + kBlock / 2));
    CHECK_FALSE(mem::resized(good, 15 * MiB));
    CHECK_FALSE(mem::resized(good, 16 * MiB + kRoom + kBlock));
    CHECK_FALSE(mem::resized(good, ~std::uint64_t{0}));
}

TEST_CASE("what is in unplugged blocks is neither touched nor dirty, in memory that is mapped neither") {
    Mem mem;
    mem.activate();
    REQUIRE(mem.ask_block(RequestType::kPlug, 5, 1) == ResponseType::kAck);
    mem.touch(4, 3);
    const auto bits = mem.memory.touched();
    REQUIRE(bits.size() == 2);
    for (std::size_t word = 0; word < bits[1].size(); ++word)
        CHECK(bits[1][word] == (word / 8 == 5 ? ~std::uint64_t{0} : 0));
    CHECK(mem.memory.boot_regions().size() == 1);

    std::FILE* const file = std::tmpfile();
    REQUIRE(file != nullptr);
    REQUIRE(::ftruncate(::fileno(file), 16 * MiB + kRoom) == 0);
    const std::uint64_t mark = 42;
    for (const std::uint64_t block : {std::uint64_t{0}, std::uint64_t{1}})
        REQUIRE(::pwrite(::fileno(file), &mark, sizeof mark, static_cast<off_t>(16 * MiB + block * kBlock)) ==
                sizeof mark);
    GuestMemory mapped = GuestMemory::map(config_with(kRoom), Fd(::dup(::fileno(file)))).value();
    std::fclose(file);
    State state = mem.device->state();
    state.plugged = {1, 0};
    const auto engine = io::Engine::create().value();
    const auto device =
        MemDevice::create(config_of(config_with(kRoom)).value(), mapped, *engine, state).value();
    CHECK(mapped.load<std::uint64_t>(kRegion) == mark);
    CHECK(mapped.touched()[1][0] == 1);
    CHECK(mapped.touched()[1][8] == 0);
    CHECK(mapped.discard(kRegion, kBlock));
    CHECK(mapped.load<std::uint64_t>(kRegion) == 0);
}

TEST_CASE("a block that is plugged while writes are logged is dirty, one that is not is not") {
    Mem mem;
    mem.activate();
    REQUIRE(mem.ask_block(RequestType::kPlug, 1, 2) == ResponseType::kAck);
    mem.memory.start_dirty_tracking();
    REQUIRE(mem.ask_block(RequestType::kUnplug, 1, 1) == ResponseType::kAck);
    REQUIRE(mem.ask_block(RequestType::kPlug, 7, 1) == ResponseType::kAck);
    mem.settle();
    DirtyBitmap& dirty = *mem.memory.dirty_bitmap(1);
    std::vector<std::uint64_t> bits(dirty.words());
    for (std::size_t word = 0; word < bits.size(); ++word)
        bits[word] = dirty.take(word);
    mem.memory.blocks()->drop_unplugged(bits);
    for (std::size_t word = 0; word < bits.size(); ++word)
        CHECK(bits[word] == (word / 8 == 7 ? ~std::uint64_t{0} : 0));
    mem.memory.stop_dirty_tracking();
}
