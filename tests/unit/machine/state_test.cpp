#include "vmm/machine/state.h"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

#include "tests/unit/machine/sample_state.h"
#include "vmm/machine/platform.h"
#include "vmm/state/difference.h"

using namespace hako;
using namespace hako::test;

namespace {

using Bytes = std::vector<std::byte>;

Bytes read_fixture(const char* path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    Bytes bytes(text.size());
    std::memcpy(bytes.data(), text.data(), text.size());
    return bytes;
}

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

void check_equal(const MachineState& a, const MachineState& b) {
    CHECK(a.facts == b.facts);
    CHECK(a.clock == b.clock);
    CHECK(a.platform == b.platform);
    CHECK(a.bridge == b.bridge);
    CHECK(a.segments == b.segments);
    CHECK(a.disks == b.disks);
    CHECK(a.nets == b.nets);
    CHECK(a.rngs == b.rngs);
    CHECK(a.consoles == b.consoles);
    CHECK(a.vsocks == b.vsocks);
    CHECK(a.fs == b.fs);
    CHECK(a.balloons == b.balloons);
    CHECK(a.watchdog == b.watchdog);
    CHECK(a.mems == b.mems);
    CHECK(a.gone_disks == b.gone_disks);
    CHECK(state::differences(a.irqchip, b.irqchip).empty());
    REQUIRE(a.cpus.size() == b.cpus.size());
    for (std::size_t i = 0; i < a.cpus.size(); ++i)
        CHECK(state::differences(a.cpus[i], b.cpus[i]).empty());
}

}  // namespace

TEST_CASE("a machine's state comes back from its bytes") {
    const MachineState state = sample_state(1);
    const auto bytes = encode(state);
    REQUIRE(bytes);
    const auto back = decode(*bytes);
    REQUIRE_MESSAGE(back, back.error().text());
    check_equal(state, *back);

    MachineState small = sample_state(1);
    small.platform.serial.reset();
    small.disks.clear();
    small.gone_disks.clear();
    small.vsocks.push_back(
        {.id = "vsock0", .slot = 9, .transport = state.rngs[0].transport, .device = {.features = 7}});
    small.fs.push_back({.id = "fs0",
                        .slot = 10,
                        .transport = state.rngs[0].transport,
                        .device = {.features = 3, .daemon = {1, 2, 0}}});
    small.balloons.push_back(
        {.id = "__balloon",
         .slot = 11,
         .transport = state.rngs[0].transport,
         .device = {.features = 9, .num_pages = 65536, .actual = 65000, .poison_val = 0xaa}});
    small.disks.push_back(state.disks[0]);
    small.disks.push_back(state.disks[0]);
    small.disks.back().segment = 1;  // the same id there is another device for the codec
    small.gone_disks.push_back(state.gone_disks[0]);
    small.gone_disks.back().segment = 15;
    small.segments = {
        {.bridge = state.bridge, .hotplug = {.inserted = 4, .leaving = 2, .asked = 6}, .leaving = 6},
        {.bridge = state.bridge}};
    small.watchdog = {
        .slot = 12,
        .device = {.timer1 = 5, .unlocked = 1, .countdown = {.stage = 2, .left_ns = 7, .timed_out = true}}};
    small.mems.push_back({.id = "__mem",
                          .slot = 12,
                          .transport = state.rngs[0].transport,
                          .device = {.features = 5,
                                     .address = 1ULL << 32,
                                     .region_size = 256 * MiB,
                                     .block_size = 2 * MiB,
                                     .requested = 64 * MiB,
                                     .plugged = {0xff, 1}}});
    const auto again = decode(encode(small).value());
    REQUIRE(again);
    check_equal(small, *again);
}

TEST_CASE("a device's segment is written one way only") {
    MachineState state = sample_state(1);
    state.gone_disks.clear();
    for (const char* id : {"01/x", "0/x", "/x", "1x/y", "70000/x", "x/1"}) {
        CAPTURE(id);
        state.disks.resize(1);
        state.disks[0].id = id;
        const auto back = decode(encode(state).value());
        REQUIRE(back);
        CHECK(back->disks[0].id == id);
        CHECK(back->disks[0].segment == 0);
    }
}

TEST_CASE("the state that the first format's hako saved is read, and still written so") {
    const Bytes fixture = read_fixture(STATE_V1);
    REQUIRE(!fixture.empty());
    const auto state = decode(fixture);
    REQUIRE_MESSAGE(state, state.error().text());
    check_equal(*state, sample_state(1));
    // As long as no field was added. Who adds one stores a fixture of the new version beside this one.
    CHECK(encode(sample_state(1)).value() == fixture);
}

TEST_CASE("a generation ID comes back, and one who does not know it skips it") {
    MachineState state = sample_state(1);
    CHECK_FALSE(state.platform.generation);
    state.platform.generation = vmgenid::State{.id = {1, 2, 3}};
    const Bytes bytes = encode(state).value();
    check_equal(decode(bytes).value(), state);
    const auto reader = state::Reader::parse(bytes).value();
    for (const state::Section& section : reader.sections())
        CHECK((section.need == state::Need::kOptional) == (section.name == "generation-id"));
}

TEST_CASE("a generation ID is renewed where there is one, and the guest is told") {
    PlatformState state;
    state.generation = vmgenid::fresh().value();
    CHECK(state.generation->id != vmgenid::fresh().value().id);
    const PlatformState before = state;
    REQUIRE(renew_generation(state));
    CHECK(state.generation->id != before.generation->id);
    CHECK(state.power.events == acpi_pm::kEventGeneration);

    PlatformState older;
    REQUIRE(renew_generation(older));
    CHECK(older == PlatformState{});
}

TEST_CASE("a state without one of its sections is refused, and names it") {
    const Bytes whole = encode(sample_state(1)).value();
    const auto reader = state::Reader::parse(whole).value();
    for (const state::Section& left_out : reader.sections()) {
        state::Writer writer;
        for (const state::Section& section : reader.sections())
            if (&section != &left_out)
                writer.add_payload(section.name, section.instance, section.version,
                                   Bytes(section.payload.begin(), section.payload.end()), section.need);
        const auto state = decode(std::move(writer).finish().value());
        // What there may be any number of, or none, the configuration will miss.
        const bool optional = left_out.name == "serial" || left_out.name == "disk" ||
                              left_out.name == "net" || left_out.name == "rng" ||
                              left_out.name == "console" || left_out.name == "gone-disk";
        CHECK(state.has_value() == optional);
        if (!state) CHECK(contains(state.error().text(), left_out.text()));
    }
}

TEST_CASE("a state of no CPUs, of too many, or of others than it says is refused") {
    for (const std::uint32_t vcpus : {0U, 1U, 3U, 65U, 0xffffffffU}) {
        MachineState state = sample_state(1);
        state.facts.vcpus = vcpus;
        CHECK_FALSE(decode(encode(state).value()));
    }
}

TEST_CASE("CPUs that come and go may leave gaps") {
    MachineState state = sample_state(1);
    state.cpus[1].id = 63;
    state.platform.cpu_hotplug = {.enabled = 1ULL << 63 | 1, .inserted = 0, .leaving = 2, .asked = 3};
    const auto read = decode(encode(state).value());
    REQUIRE(read);
    CHECK(read->cpus[0].id == 0);
    CHECK(read->cpus[1].id == 63);
    CHECK(read->platform.cpu_hotplug == state.platform.cpu_hotplug);
    for (const std::uint32_t id : {64U, 0xffffffffU}) {
        state.cpus[1].id = id;
        CHECK_FALSE(decode(encode(state).value()));
    }
    state.cpus[0].id = 1;
    state.cpus[1].id = 2;
    CHECK_FALSE(decode(encode(state).value()));
}

TEST_CASE("for people it is JSON, with what nobody knows in it") {
    const auto text = describe(encode(sample_state(1)).value());
    REQUIRE(text);
    CHECK(contains(*text, "\"name\": \"disk\""));
    CHECK(contains(*text, "\"instance\": \"__seed\""));
    CHECK(contains(*text, "\"rip\": \"0x"));

    state::Writer writer;
    writer.add_payload("novelty", "x", 9, Bytes{std::byte{0xab}}, state::Need::kRequired);
    const auto unknown = describe(std::move(writer).finish().value());
    REQUIRE(unknown);
    CHECK(contains(*unknown, R"("name": "novelty")"));
    CHECK(contains(*unknown, R"("unknown": "ab")"));
    CHECK_FALSE(describe(Bytes(40)));
}
