#include "vmm/state/sections.h"

#include <doctest/doctest.h>

#include "tests/unit/state/fill.h"
#include "tests/unit/state/samples.h"
#include "vmm/base/crc32c.h"
#include "vmm/state/difference.h"

using namespace hako;
using namespace hako::test;
using state::Need;
using state::Reader;
using state::Writer;

namespace {

using Bytes = std::vector<std::byte>;

Bytes two_sections() {
    Writer writer;
    writer.add("sample", "", filled<Sample>());
    writer.add("point", "disk0", Point{.x = 1, .y = 2});
    return std::move(writer).finish().value();
}

std::string parse_error(const Bytes& bytes) {
    const auto reader = Reader::parse(bytes);
    if (reader) return "";
    CHECK(reader.error().fault() == Fault::kInput);
    return reader.error().text();
}

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != std::string_view::npos;
}

/// A state with one section of that payload.
Bytes with(std::string_view name, std::uint16_t version, Bytes payload, Need need) {
    Writer writer;
    writer.add_payload(name, "", version, std::move(payload), need);
    return std::move(writer).finish().value();
}

void store(Bytes& bytes, std::size_t at, std::uint64_t value, std::size_t width) {
    for (std::size_t i = 0; i < width; ++i)
        bytes[at + i] = static_cast<std::byte>(value >> (8 * i));
}

/// Makes the first section's checksum right again.
void mend_first(Bytes& bytes) {
    const auto section = std::span(bytes).subspan(state::kFileHeaderBytes);
    const auto header = state::SectionHeader::parse(section.first<state::kSectionHeaderBytes>());
    if (!header) return;
    const std::uint32_t sum =
        crc32c(section.subspan(state::kSectionHeaderBytes, header->body_length()), crc32c(section.first(12)));
    store(bytes, state::kFileHeaderBytes + 12, sum, 4);
}

constexpr std::size_t kFirst = state::kFileHeaderBytes;

}  // namespace

TEST_CASE("sections come back with their names, instances and values") {
    const Bytes bytes = two_sections();
    auto reader = Reader::parse(bytes);
    REQUIRE(reader);
    REQUIRE(reader->sections().size() == 2);
    CHECK(reader->sections()[1].name == "point");
    CHECK(reader->sections()[1].instance == "disk0");
    CHECK(reader->instances("point") == std::vector<std::string_view>{"disk0"});
    const auto sample = reader->take<Sample>("sample");
    REQUIRE(sample);
    CHECK(state::differences(*sample, filled<Sample>()).empty());
    const auto point = reader->take<Point>("point", "disk0");
    REQUIRE(point);
    CHECK(point->y == 2);
    CHECK(reader->finish());
    CHECK(reader->find<Point>("point", "disk1").value() == std::nullopt);
    CHECK(reader->take<Point>("point", "disk1").error().text() == "the state has no section point disk1");
}

TEST_CASE("a state without sections is one") {
    const Bytes bytes = Writer().finish().value();
    const auto reader = Reader::parse(bytes);
    REQUIRE(reader);
    CHECK(reader->sections().empty());
}

TEST_CASE("a state that is cut anywhere is refused") {
    const Bytes bytes = two_sections();
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        const std::string error =
            parse_error(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)));
        CHECK_MESSAGE(!error.empty(), size);
    }
    CHECK(contains(parse_error(Bytes(bytes.begin(), bytes.end() - 1)), "cut short"));
    // Without its last section, too, though nothing in it is damaged.
    const auto reader = Reader::parse(bytes).value();
    const std::size_t end = 16 + 3 + 12;
    CHECK(contains(parse_error(Bytes(bytes.begin(), bytes.end() - end)), "cut short"));
}

TEST_CASE("a state in which any bit is flipped is refused") {
    const Bytes bytes = two_sections();
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        for (int bit = 0; bit < 8; ++bit) {
            Bytes damaged = bytes;
            damaged[at] ^= static_cast<std::byte>(1 << bit);
            CHECK_MESSAGE(!parse_error(damaged).empty(), at);
        }
    }
    Bytes damaged = bytes;
    damaged[kFirst + 40] ^= std::byte{1};
    CHECK(parse_error(damaged) == "at byte 16: a section's checksum is wrong: the state is damaged");
}

TEST_CASE("what is no state, or a newer one, is refused") {
    CHECK(contains(parse_error({}), "no state that hako saved"));
    CHECK(contains(parse_error(Bytes(100, std::byte{'x'})), "no state that hako saved"));
    Bytes newer = two_sections();
    newer[8] = std::byte{2};
    CHECK(contains(parse_error(newer), "format 2, this hako reads format 1"));
}

TEST_CASE("lengths beyond the limits are refused, whatever the checksum says") {
    struct Field {
        std::size_t offset;
        std::size_t width;
        std::uint64_t value;
    };
    for (const auto& [offset, width, value] :
         {Field{4, 2, 0}, Field{4, 2, state::kMaxName + 1}, Field{6, 2, state::kMaxInstance + 1},
          Field{8, 4, state::kMaxPayload + 1}, Field{8, 4, 0xffffffff}}) {
        Bytes bytes = two_sections();
        store(bytes, kFirst + offset, value, width);
        mend_first(bytes);
        CHECK(contains(parse_error(bytes), "beyond all limits"));
    }
    Bytes bytes = two_sections();
    store(bytes, kFirst + 8, state::kMaxPayload, 4);
    CHECK(contains(parse_error(bytes), "cut short"));
}

TEST_CASE("a section that comes twice, or is lost, is noticed") {
    Writer writer;
    writer.add("point", "a", Point{});
    writer.add("point", "a", Point{});
    CHECK(parse_error(std::move(writer).finish().value()) == "section point a comes twice");

    // The first of two sections taken out, all checksums right.
    const Bytes bytes = two_sections();
    const std::size_t second =
        kFirst + state::kSectionHeaderBytes +
        state::SectionHeader::parse(std::span(bytes).subspan(kFirst).first<16>())->body_length();
    Bytes lost(bytes.begin(), bytes.begin() + kFirst);
    lost.insert(lost.end(), bytes.begin() + static_cast<std::ptrdiff_t>(second), bytes.end());
    CHECK(contains(parse_error(lost), "the state has 1 sections"));

    Bytes longer = bytes;
    longer.push_back(std::byte{0});
    CHECK(parse_error(longer) == "1 bytes follow the end of the state");
}

TEST_CASE("an unknown section is skipped if it is optional, and refused if it is required") {
    const Bytes optional = with("novelty", 1, Bytes(3), Need::kOptional);
    CHECK(Reader::parse(optional)->finish());
    const Bytes required = with("novelty", 1, Bytes(3), Need::kRequired);
    const auto refused = Reader::parse(required)->finish();
    REQUIRE_FALSE(refused);
    CHECK(contains(refused.error().text(), "section novelty that this hako does not know"));
}

TEST_CASE("a section's version: older is read, newer is refused") {
    const Bytes old = with("new", 1, state::to_bytes(Old{.first = 4}).value(), Need::kRequired);
    const auto read = Reader::parse(old)->take<New>("new");
    REQUIRE(read);
    CHECK(read->first == 4);
    CHECK(read->second == 0x55aa);
    for (const std::uint16_t version : {std::uint16_t{0}, std::uint16_t{3}}) {
        const Bytes bytes = with("new", version, state::to_bytes(New{}).value(), Need::kRequired);
        const auto refused = Reader::parse(bytes)->take<New>("new");
        REQUIRE_FALSE(refused);
        CHECK(contains(refused.error().text(), "section new: its version is"));
    }
}

TEST_CASE("what is wrong in a section is said with the field's name") {
    Bytes payload = state::to_bytes(Sample{}).value();
    payload[0] = std::byte{7};
    const Bytes bytes = with("sample", 1, payload, Need::kRequired);
    CHECK(Reader::parse(bytes)->take<Sample>("sample").error().text() ==
          "section sample: flag: 7 is neither true nor false");
}

TEST_CASE("a section can be read by itself, as from a stream") {
    const Bytes bytes = two_sections();
    const auto rest = std::span<const std::byte>(bytes).subspan(kFirst);
    const auto header = state::SectionHeader::parse(rest.first<state::kSectionHeaderBytes>());
    REQUIRE(header);
    const auto section =
        state::Section::parse(rest.first(state::kSectionHeaderBytes + header->body_length()));
    REQUIRE(section);
    CHECK(section->name == "sample");
    CHECK(Reader::decode<Sample>(*section));
    CHECK_FALSE(state::Section::parse(rest.first(state::kSectionHeaderBytes)));
}

TEST_CASE("what cannot be saved fails, and says which section") {
    Writer writer;
    Sample sample;
    sample.text = "far too long";
    writer.add("sample", "x", sample);
    writer.add("point", "", Point{});
    const auto bytes = std::move(writer).finish();
    REQUIRE_FALSE(bytes);
    CHECK(bytes.error().text() ==
          "section sample x: text: 12 elements are more than the 8 that a state has room for");

    Writer named;
    named.add("point", std::string(state::kMaxInstance + 1, 'x'), Point{});
    CHECK_FALSE(std::move(named).finish());
}
