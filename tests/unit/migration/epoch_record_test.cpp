// Who ran the VM last.
#include "migration/epoch_record.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/boot/temp_dir.h"

using namespace hako;
using namespace hako::migration;

namespace {

const Uuid kVm{std::byte{1}};
const Uuid kOther{std::byte{2}};
const EpochRecord kRecord{.epoch = 5, .vm = kVm, .withdrawn = false, .who = "node2, process 17"};

}  // namespace

TEST_CASE("migration epoch record: written, read, replaced") {
    const hako::testing::TempDir dir;
    const std::string path = epoch_record_path((dir.path() / "disk.img").string());
    CHECK(path.ends_with("/disk.img.hako-epoch"));
    CHECK(read_epoch_record(path).value() == std::nullopt);
    REQUIRE(write_epoch_record(path, kRecord));
    CHECK(read_epoch_record(path).value() == kRecord);
    EpochRecord next = kRecord;
    next.epoch = 6;
    next.withdrawn = true;
    next.who = std::string("somebody");
    REQUIRE(write_epoch_record(path, next));
    CHECK(read_epoch_record(path).value() == next);
    CHECK(std::filesystem::file_size(path) == 512);
    CHECK_FALSE(write_epoch_record((dir.path() / "none" / "disk").string(), kRecord));
}

TEST_CASE("migration epoch record: what is damaged is no record, and not none either") {
    const hako::testing::TempDir dir;
    const std::string path = (dir.path() / "record").string();
    REQUIRE(write_epoch_record(path, kRecord));
    for (const int at : {0, 8, 10, 18, 34, 40, 300, 511}) {
        REQUIRE(write_epoch_record(path, kRecord));
        {
            std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
            file.seekg(at);
            const auto byte = static_cast<char>(file.get() ^ 1);
            file.seekp(at);
            file.put(byte);
        }
        CAPTURE(at);
        CHECK_FALSE(read_epoch_record(path));
    }
    REQUIRE(::truncate(path.c_str(), 100) == 0);
    CHECK_FALSE(read_epoch_record(path));
    REQUIRE(::truncate(path.c_str(), 0) == 0);
    CHECK_FALSE(read_epoch_record(path));
    std::filesystem::remove(path);
    std::filesystem::create_symlink("/etc/passwd", path);
    CHECK_FALSE(read_epoch_record(path));
    CHECK_FALSE(write_epoch_record(path, kRecord));
}

TEST_CASE("migration epoch record: an old GO starts nothing") {
    CHECK(may_start(std::nullopt, kVm, 5));
    CHECK(may_start(kRecord, kVm, 6));
    CHECK_FALSE(may_start(kRecord, kVm, 5));
    CHECK_FALSE(may_start(kRecord, kVm, 4));
    CHECK_FALSE(may_start(kRecord, kOther, 6));
    EpochRecord withdrawn = kRecord;
    withdrawn.withdrawn = true;
    CHECK_FALSE(may_start(withdrawn, kVm, 5));
}

TEST_CASE("migration epoch record: a source resumes only if the destination cannot have run") {
    CHECK(decide_reclaim(std::nullopt, kVm, 5).value() == Reclaim::kResume);
    CHECK(decide_reclaim(kRecord, kVm, 6).value() == Reclaim::kResume);  // of the migration before
    CHECK(decide_reclaim(kRecord, kVm, 5).value() == Reclaim::kLost);
    CHECK(decide_reclaim(kRecord, kVm, 4).value() == Reclaim::kLost);
    EpochRecord withdrawn = kRecord;
    withdrawn.withdrawn = true;
    CHECK(decide_reclaim(withdrawn, kVm, 5).value() == Reclaim::kResume);
    CHECK(decide_reclaim(withdrawn, kVm, 4).value() == Reclaim::kLost);
    CHECK_FALSE(decide_reclaim(kRecord, kOther, 5));
}
