// The bytes of the migration stream.
#include <doctest/doctest.h>

#include "migration/protocol/frame.h"
#include "migration/protocol/messages.h"

using namespace hako;
using namespace hako::migration;

namespace {

/// It comes back as it was, and nothing that is shorter or longer is taken for it.
template <typename Message>
void check_round_trip(const Message& message) {
    CAPTURE(type_name(Message::kType));
    const Blob bytes = encode(message);
    CHECK(bytes.size() <= max_payload(Message::kType));
    const auto back = decode<Message>(bytes);
    REQUIRE(back.has_value());
    CHECK(*back == message);
    for (std::size_t length = 0; length < bytes.size(); ++length)
        CHECK_FALSE(decode<Message>(std::span(bytes).first(length)).has_value());
    Blob longer = bytes;
    longer.push_back(std::byte{0});
    CHECK_FALSE(decode<Message>(longer).has_value());
}

Hello some_hello() {
    return {.oldest = 1,
            .newest = 3,
            .uuid = {std::byte{9}},
            .epoch = 1ULL << 40,
            .connections = 64,
            .fds = 2,
            .postcopy = true,
            .layout = {.regions = {{.address = 0, .bytes = 3 * GiB}, {.address = 4 * GiB, .bytes = GiB}}},
            .config = Blob(77, std::byte{1}),
            .cpu = Blob(5, std::byte{2})};
}

}  // namespace

TEST_CASE("migration frames: messages come back as they were") {
    check_round_trip(some_hello());
    check_round_trip(Accept{.version = 1, .token = {std::byte{5}}, .restore_cost_ns = 12345});
    check_round_trip(Refuse{.causes = {"outer", "", "inner"}});
    check_round_trip(FdName{.name = "disk:root"});
    check_round_trip(Join{.token = {std::byte{5}}, .index = 63});
    check_round_trip(Joined{});
    check_round_trip(Ping{});
    check_round_trip(Round{.round = 3, .last = true, .pages = 1ULL << 33, .zero_pages = 7});
    check_round_trip(RoundDone{.round = 3, .pages = 1ULL << 33});
    check_round_trip(Ready{.state_crc = 0xdeadbeef, .pages_received = 5, .load_ns = 6});
    check_round_trip(LocksReleased{});
    check_round_trip(Locked{.received = 1, .sent = 2});
    check_round_trip(Go{.epoch = 1, .paused = 2, .clock_ahead = ~0ULL, .round_trip_ns = 3});
    check_round_trip(Running{.first_instruction = 4});
    check_round_trip(Abort{.causes = {"why"}});
    check_round_trip(PageRequest{.address = 4 * GiB, .pages = 16});
    check_round_trip(Missing{.region = 1, .first = 1ULL << 30, .words = {0, ~0ULL, 5}});
    check_round_trip(Recover{.uuid = {std::byte{9}}, .epoch = 7, .token = {std::byte{5}}, .connections = 64});
}

TEST_CASE("migration frames: PAGES is a table of runs") {
    const Pages pages{
        .runs = {{.address = 0x1000, .pages = 3}, {.address = 0x9000, .pages = 1, .zero = true}}};
    const Blob bytes = encode(pages);
    CHECK(bytes.size() == 2 * kRunBytes);
    CHECK(decode<Pages>(bytes).value() == pages);
    CHECK_FALSE(decode<Pages>(std::span(bytes).first(kRunBytes + 1)).has_value());
    Blob other_kind = bytes;
    other_kind[12] = std::byte{2};
    CHECK_FALSE(decode<Pages>(other_kind).has_value());
}

TEST_CASE("migration frames: counts and lengths beyond their limits are refused, or cut when sent") {
    Hello hello = some_hello();
    hello.connections = 0;
    CHECK_FALSE(decode<Hello>(encode(hello)).has_value());
    hello.connections = kMaxConnections + 1;
    CHECK_FALSE(decode<Hello>(encode(hello)).has_value());
    hello = some_hello();
    hello.fds = kMaxFds + 1;
    CHECK_FALSE(decode<Hello>(encode(hello)).has_value());
    hello = some_hello();
    hello.layout.regions.resize(kMaxRegions + 1);
    CHECK_FALSE(decode<Hello>(encode(hello)).has_value());
    hello = some_hello();
    hello.config.resize(kMaxConfig + 1);
    CHECK_FALSE(decode<Hello>(encode(hello)).has_value());

    const Abort cut =
        decode<Abort>(encode(Abort{.causes = std::vector<std::string>(100, std::string(5000, 'x'))})).value();
    CHECK(cut.causes.size() == kMaxCauses);
    CHECK(cut.causes[0].size() == kMaxCause);

    // A count of four thousand million causes in four bytes.
    CHECK_FALSE(decode<Abort>(Blob(4, std::byte{0xff})).has_value());
}

TEST_CASE("migration frames: a header says what may be read") {
    const Blob payload(10, std::byte{7});
    const auto header = encode_header(Type::kAbort, 0, payload);
    const Header good = decode_header(header).value();
    CHECK(good.type == Type::kAbort);
    CHECK(good.length == 10);
    CHECK(check_crc(header, payload).has_value());

    for (std::size_t bit = 0; bit < header.size() * 8; ++bit) {
        CAPTURE(bit);
        auto flipped = header;
        flipped[bit / 8] ^= std::byte{static_cast<unsigned char>(1U << bit % 8)};
        const bool taken = decode_header(flipped).has_value() && check_crc(flipped, payload).has_value();
        CHECK_FALSE(taken);
    }
    for (std::size_t at = 0; at < payload.size(); ++at) {
        Blob flipped = payload;
        flipped[at] ^= std::byte{1};
        CHECK_FALSE(check_crc(header, flipped).has_value());
    }
    CHECK_FALSE(decode_header(encode_header(Type::kPages, kFlagCompressed, {})).has_value());
    CHECK_FALSE(
        decode_header(encode_header(Type::kAbort, 0, Blob(max_payload(Type::kAbort) + 1))).has_value());
    CHECK_FALSE(decode_header(encode_header(static_cast<Type>(99), 0, {})).has_value());
}

TEST_CASE("migration memory layout: whole pages, in order, apart, below 52 bits") {
    const auto good = [](std::vector<Region> regions) {
        return MemoryLayout{.regions = std::move(regions)}.check().has_value();
    };
    CHECK(good({{.address = 0, .bytes = GiB}}));
    CHECK(good({{.address = 0, .bytes = GiB}, {.address = GiB, .bytes = GiB}}));
    CHECK_FALSE(good({}));
    CHECK_FALSE(good({{.address = 0, .bytes = 0}}));
    CHECK_FALSE(good({{.address = 1, .bytes = GiB}}));
    CHECK_FALSE(good({{.address = 0, .bytes = GiB + 1}}));
    CHECK_FALSE(good({{.address = 0, .bytes = GiB}, {.address = GiB - kPageSize, .bytes = GiB}}));
    CHECK_FALSE(good({{.address = GiB, .bytes = GiB}, {.address = 0, .bytes = GiB}}));
    CHECK_FALSE(good({{.address = kMaxAddress, .bytes = GiB}}));
    CHECK_FALSE(good({{.address = ~0ULL - kPageSize + 1, .bytes = kPageSize}}));
    CHECK_FALSE(good({{.address = kPageSize, .bytes = ~0ULL - kPageSize + 1}}));
}

TEST_CASE("migration memory layout: pages are found inside one region only") {
    const MemoryLayout layout{.regions = {{.address = 0, .bytes = 16 * kPageSize},
                                          {.address = 16 * kPageSize, .bytes = kPageSize},
                                          {.address = 4 * GiB, .bytes = 8 * kPageSize}}};
    CHECK(find_pages(layout, 0, 16) == PagePlace{.region = 0, .first = 0});
    CHECK(find_pages(layout, 16 * kPageSize, 1) == PagePlace{.region = 1, .first = 0});
    CHECK(find_pages(layout, 4 * GiB + 7 * kPageSize, 1) == PagePlace{.region = 2, .first = 7});
    CHECK_FALSE(find_pages(layout, 0, 17));
    CHECK_FALSE(find_pages(layout, 17 * kPageSize, 1));
    CHECK_FALSE(find_pages(layout, 4 * GiB + 8 * kPageSize, 1));
    CHECK_FALSE(find_pages(layout, 4 * GiB, ~0ULL));
    CHECK_FALSE(find_pages(layout, 1, 1));
}
