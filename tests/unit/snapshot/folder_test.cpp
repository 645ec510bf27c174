#include "migration/snapshot/folder.h"

#include <doctest/doctest.h>

#include "tests/unit/snapshot/temporary_folder.h"
#include "vmm/base/crc32c.h"

using namespace hako;
using namespace hako::migration;

namespace {

SavedState sample() {
    SavedState state;
    state.facts = {.memory = 3 * kPageSize, .checksums = 0, .taken = 5, .live = true};
    state.vm = {std::byte{1}, std::byte{0xff}, std::byte{0}};
    return state;
}

}  // namespace

TEST_CASE("a snapshot's small files come back") {
    const test::TemporaryFolder place;
    const SnapshotFolder folder(place.path());
    REQUIRE(folder.check_empty());
    SavedState state = sample();
    const PageChecksums checksums = {1, 2, 3};
    state.facts.checksums = crc32c(std::as_bytes(std::span(checksums)));
    REQUIRE(folder.write_config("{}"));
    REQUIRE(folder.write_checksums(checksums));
    CHECK_FALSE(folder.read_state());  // not finished yet
    REQUIRE(folder.write_state(state));
    CHECK(folder.read_config().value() == "{}");
    const auto read = folder.read_state();
    REQUIRE(read);
    CHECK(read->facts == state.facts);
    CHECK(read->vm == state.vm);
    CHECK(folder.read_checksums(read->facts).value() == checksums);
    SnapshotFacts other = read->facts;
    other.memory += kPageSize;
    CHECK_FALSE(folder.read_checksums(other));
    CHECK_FALSE(folder.check_empty());
    folder.remove();
    CHECK(folder.check_empty());
}

TEST_CASE("state.json that is none is refused") {
    const std::string good = to_json(sample()).value();
    REQUIRE(saved_state_of(good));
    for (std::size_t length = 0; length < good.size(); ++length)
        CHECK_FALSE(saved_state_of(good.substr(0, length)));
    for (const char* const text : {"[]", "{}", "null", R"({"format":1})", R"({"format":"hako snapshot 1"})",
                                   R"({"format":"hako snapshot 1","snapshot":"0","vm":""})",
                                   R"({"format":"hako snapshot 1","snapshot":"zz","vm":""})",
                                   R"({"format":"hako snapshot 1","snapshot":"00","vm":"00"})"})
        CHECK_FALSE(saved_state_of(text));
}

TEST_CASE("a folder that is none") {
    CHECK_FALSE(SnapshotFolder("/nowhere/at/all").check_empty());
    CHECK_FALSE(SnapshotFolder("/dev/null").check_empty());
}
