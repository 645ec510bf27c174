#include "migration/snapshot/memory_file.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "migration/snapshot/memory_reader.h"
#include "tests/unit/snapshot/temporary_folder.h"
#include "vmm/memory/guest_memory.h"

using namespace hako;
using namespace hako::migration;

namespace {

constexpr std::uint64_t kSize = 16 * MiB;

struct Rig {
    test::TemporaryFolder folder;
    std::string path = folder.path() + "/memory";
    GuestMemory memory = GuestMemory::create({.size = kSize}).value();
    std::unique_ptr<MemoryWriter> writer = MemoryWriter::create(path, kSize).value();

    std::span<std::byte> pages(std::uint64_t first, std::uint64_t count) {
        return {memory.regions()[0].host + first * kPageSize, count * kPageSize};
    }
    void fill(std::uint64_t page, int value) {
        std::ranges::fill(pages(page, 1), static_cast<std::byte>(value));
    }
    void write(std::uint64_t first, std::uint64_t count) {
        REQUIRE(writer->write(pages(first, count), first * kPageSize));
    }
    /// What a VM that is restored finds.
    Result<GuestMemory> read() {
        GuestMemory copy = GuestMemory::create({.size = kSize}).value();
        const MemoryFile file = HAKO_TRY(MemoryFile::open(path, kSize));
        HAKO_TRY(read_memory(file, all_pages(kSize), writer->checksums(), copy));
        return copy;
    }
    bool same() {
        const auto copy = read();
        REQUIRE(copy);
        return std::equal(memory.regions()[0].host, memory.regions()[0].host + kSize,
                          copy->regions()[0].host);
    }
};

}  // namespace

TEST_CASE("memory comes back, and holes are no work") {
    Rig rig;
    for (const std::uint64_t page : {0U, 1U, 2U, 40U, 41U, 255U, 256U, 300U, 4095U})
        rig.fill(page, static_cast<int>(page % 250 + 1));
    for (std::uint64_t first = 0; first < kSize / kPageSize; first += 256)
        rig.write(first, 256);
    REQUIRE(rig.writer->finish());
    CHECK(rig.same());
    struct stat status{};
    REQUIRE(::stat(rig.path.c_str(), &status) == 0);
    CHECK(static_cast<std::uint64_t>(status.st_blocks) * 512 < MiB);
    CHECK(rig.writer->bytes_written() < MiB);
}

TEST_CASE("a page that is written again counts as it was last, zeros too") {
    Rig rig;
    rig.fill(7, 1);
    rig.fill(8, 2);
    rig.write(0, 256);
    REQUIRE(rig.writer->drain());
    rig.fill(7, 0);
    rig.fill(8, 3);
    rig.write(7, 2);
    REQUIRE(rig.writer->finish());
    CHECK(rig.same());
}

TEST_CASE("a page that is not what was saved is found, hole or not") {
    Rig rig;
    rig.fill(7, 1);
    rig.write(0, 256);
    REQUIRE(rig.writer->finish());
    const Fd file(::open(rig.path.c_str(), O_RDWR | O_CLOEXEC));
    const char byte = 5;
    SUBCASE("data") {
        REQUIRE(::pwrite(file.get(), &byte, 1, 7 * kPageSize + 9) == 1);
    }
    SUBCASE("what was a hole") {
        REQUIRE(::pwrite(file.get(), &byte, 1, MiB + 9) == 1);
    }
    SUBCASE("data that became a hole") {
        REQUIRE(::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, MiB) == 0);
    }
    const auto copy = rig.read();
    REQUIRE_FALSE(copy);
    CHECK(copy.error().text().find("checksum") != std::string::npos);
}

TEST_CASE("a file that is there already is left alone") {
    Rig rig;
    CHECK_FALSE(MemoryWriter::create(rig.path, kSize));
}
