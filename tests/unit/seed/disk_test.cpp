// Disks as this program and others read them.
#include "vmm/seed/disk.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/seed/temporary.h"
#include "vmm/seed/bytes.h"
#include "vmm/seed/contents.h"
#include "vmm/seed/file_tree.h"
#include "vmm/seed/iso.h"

using namespace hako;
using seed::DiskConfig;
using seed::File;
using seed::Format;

namespace {

std::string binary() {
    std::string bytes;
    for (int i = 0; i < 1000; ++i)
        bytes += static_cast<char>(i * 7);
    return bytes;
}

std::vector<File> plenty(bool modes) {
    const auto mode = [modes](std::uint32_t bits) { return modes ? std::optional(bits) : std::nullopt; };
    return {{.path = "README.TXT", .content = "short name\n", .mode = mode(0644)},
            {.path = "empty", .content = "", .mode = mode(0400)},
            {.path = "grüße 世界.txt", .content = "UTF-8\n", .mode = mode(0444)},
            {.path = "😀", .content = "two units\n", .mode = mode(0444)},
            {.path = "binary.bin", .content = binary(), .mode = mode(0600)},
            {.path = std::string(255, 'n'), .content = "longest name\n", .mode = mode(0444)},
            {.path = "folder/with.dot/deep file", .content = std::string(5000, 'd'), .mode = mode(0755)},
            {.path = "folder/FILE1", .content = "1", .mode = mode(0444)},
            {.path = "folder/a long name of a file 1", .content = "l1", .mode = mode(0444)},
            {.path = "folder/a long name of a file 2", .content = "l2", .mode = mode(0444)}};
}

std::string bytes_of(const DiskConfig& config) {
    const auto image = seed::image_bytes(config);
    REQUIRE_MESSAGE(image, image.error().text());
    return *image;
}

std::vector<File> sorted(std::vector<File> files) {
    std::ranges::sort(files, {}, &File::path);
    return files;
}

/// What comes back is what went in.
void check_round_trip(const DiskConfig& config) {
    const auto contents = seed::read_contents(bytes_of(config));
    REQUIRE_MESSAGE(contents, contents.error().text());
    CHECK(contents->format == config.format);
    CHECK(contents->label == config.label);
    std::vector<File> expected = sorted(config.files);
    if (config.format == Format::kIso9660)
        for (File& file : expected)
            file.mode = file.mode.value_or(seed::kDefaultMode);
    CHECK((sorted(contents->files) == expected));
}

bool has(const char* program) {
    return test::output_of(std::string("command -v ") + program + " >/dev/null; echo $?").starts_with("0");
}

}  // namespace

TEST_CASE("ISO 9660 gives back names, folders, contents and modes") {
    check_round_trip({.label = "cfgdata", .format = Format::kIso9660, .files = plenty(true)});
    check_round_trip({.label = "x", .format = Format::kIso9660, .files = {}});
    check_round_trip(
        {.label = "sixteen-letters!", .format = Format::kIso9660, .files = {{.path = "a", .content = "b"}}});
}

TEST_CASE("FAT gives back names, folders and contents") {
    check_round_trip({.label = "CFGDATA", .format = Format::kVfat, .files = plenty(false)});
    check_round_trip({.label = "X", .format = Format::kVfat, .files = {}});
}

TEST_CASE("many files, large files, and every length of a name") {
    std::vector<File> many;
    for (std::size_t i = 0; i < seed::kMaxFiles; ++i)
        many.push_back({.path = "folder " + std::to_string(i % 7) + "/file number " + std::to_string(i),
                        .content = std::to_string(i)});
    std::vector<File> large;
    for (const char* name : {"one", "two", "three", "four"})
        large.push_back({.path = name, .content = std::string(seed::kMaxFile, name[0])});
    std::vector<File> names;
    for (std::size_t length = 1; length <= seed::kMaxName; ++length)
        names.push_back({.path = std::string(length, 'x'), .content = std::to_string(length)});
    for (const auto& files : {many, large, names}) {
        check_round_trip({.label = "cfgdata", .format = Format::kIso9660, .files = files});
        check_round_trip({.label = "CFGDATA", .format = Format::kVfat, .files = files});
    }
}

TEST_CASE("FAT of every size around the places where its width changes") {
    for (std::size_t clusters = 3900; clusters < 4300; clusters += 13) {
        std::vector<File> files;
        for (std::size_t left = clusters * 512; left > 0;) {
            const std::size_t size = std::min<std::size_t>(left, seed::kMaxFile);
            files.push_back({.path = std::to_string(files.size()), .content = std::string(size, 'x')});
            left -= size;
        }
        check_round_trip({.label = "CFGDATA", .format = Format::kVfat, .files = files});
    }
}

TEST_CASE("other programs read ISO 9660 in the same way") {
    const test::TemporaryDirectory directory;
    const DiskConfig config{.label = "cfgdata", .format = Format::kIso9660, .files = plenty(true)};
    const std::string iso = directory.file("disk.iso", bytes_of(config)).string();
    CHECK(test::output_of("/sbin/blkid -p -o value -s LABEL -s TYPE " + iso) == "cfgdata\niso9660\n0");
    for (const File& file : config.files) {
        CHECK(test::output_of(fmt::format("isoinfo -R -x '/{}' -i {}", file.path, iso)) ==
              file.content + "0");
        CHECK(test::output_of(fmt::format("LC_ALL=C.UTF-8 bsdtar -xOf {} '{}'", iso, file.path)) ==
              file.content + "0");
    }
    const std::string list = test::output_of("LC_ALL=C.UTF-8 bsdtar -tvf " + iso);
    CHECK(list.find("-rw-r--r--  1 0      0          11 Jan  1  1970 README.TXT\n") != std::string::npos);
    CHECK(list.find("-rwxr-xr-x  1 0      0        5000 Jan  1  1970 folder/with.dot/deep file\n") !=
          std::string::npos);
    CHECK(list.find("dr-xr-xr-x  3 0      0        2048 Jan  1  1970 folder\n") != std::string::npos);
    // Windows reads these.
    const std::string joliet = test::output_of("isoinfo -J -f -i " + iso);
    for (const char* name : {"/README.TXT\n", "/folder/with.dot/deep file\n", "/binary.bin\n"})
        CHECK_MESSAGE(joliet.find(name) != std::string::npos, joliet);
}

TEST_CASE("other programs find each of many files, and folders by their numbers") {
    const test::TemporaryDirectory directory;
    DiskConfig config{.label = "cfgdata", .format = Format::kIso9660, .files = {}};
    for (std::size_t i = 0; i < seed::kMaxFiles; ++i)
        config.files.push_back(
            {.path = "a/b" + std::to_string(i % 5) + "/a name of some length " + std::to_string(i),
             .content = "x"});
    const std::string iso = directory.file("disk.iso", bytes_of(config)).string();
    CHECK(test::output_of("isoinfo -R -f -i " + iso + " | wc -l") == "1030\n0");
    CHECK(test::output_of("isoinfo -J -f -i " + iso + " | wc -l") == "1030\n0");
    CHECK(test::output_of("bsdtar -tf " + iso + " | wc -l") == "1031\n0");
    const std::string table = test::output_of("isoinfo -p -i " + iso);
    for (const char* line : {"   1:    1 ", "   2:    1 ", "   3:    2 ", "   7:    2 "})
        CHECK_MESSAGE(table.find(line) != std::string::npos, table);
    // No record lies across two sectors (ECMA-119, 6.8.1.1).
    const std::string image = bytes_of(config);
    const std::size_t table_at =
        std::size_t{seed::load_le32(image, 16 * seed::kSector + 140)} * seed::kSector;
    const std::size_t last = table_at + 10 + 10 + 4 * 10;  // of the root, "A" and "B0" to "B4"
    std::size_t at = std::size_t{seed::load_le32(image, last + 2)} * seed::kSector;
    const std::size_t size = seed::load_le32(image, at + 10);
    REQUIRE(size > 2 * seed::kSector);
    for (const std::size_t end = at + size; at < end;) {
        const std::size_t length = seed::load8(image, at);
        CHECK(at % seed::kSector + length <= seed::kSector);
        at = length == 0 ? (at / seed::kSector + 1) * seed::kSector : at + length;
    }
}

TEST_CASE("other programs read FAT in the same way") {
    const test::TemporaryDirectory directory;
    std::vector<File> large = plenty(false);
    for (const char* name : {"one", "two"})
        large.push_back({.path = name, .content = std::string(seed::kMaxFile, name[0])});
    for (const auto& files : {plenty(false), large}) {
        const DiskConfig config{.label = "cidata", .format = Format::kVfat, .files = files};
        const std::string image = directory.file("disk.img", bytes_of(config)).string();
        CHECK(test::output_of("/sbin/blkid -p -o value -s LABEL -s TYPE " + image) == "CIDATA\nvfat\n0");
        const std::string checked = test::output_of("/sbin/fsck.fat -n -v " + image + " 2>&1");
        CHECK_MESSAGE(checked.ends_with("\n0"), checked);
        CHECK_MESSAGE(checked.find("differ") == std::string::npos, checked);
        CHECK(checked.find(files.size() > 11 ? "16 bit entries" : "12 bit entries") != std::string::npos);
        if (!has("mcopy")) {
            MESSAGE("not tested: there is no mtools");
            continue;
        }
        for (const File& file : config.files)
            if (file.path.find("😀") == std::string::npos)  // mtools knows characters of one unit only
                CHECK(test::output_of(fmt::format("LC_ALL=C.UTF-8 mcopy -i {} '::{}' - 2>&1", image,
                                                  file.path)) == file.content + "0");
        CHECK(test::output_of("mdir -i " + image + " ::README.TXT").find("1980-01-01   0:00") !=
              std::string::npos);
        CHECK(test::output_of("mlabel -s -i " + image + " :: 2>&1").find("CIDATA") != std::string::npos);
    }
}

TEST_CASE("the same files give the same bytes, in whatever order they come") {
    for (const Format format : {Format::kIso9660, Format::kVfat}) {
        DiskConfig config{.label = "CFGDATA", .format = format, .files = plenty(false)};
        const std::string first = bytes_of(config);
        CHECK((bytes_of(config) == first));
        config.files.back().content += "x";
        CHECK((bytes_of(config) != first));
    }
}

TEST_CASE("labels are what their format can hold") {
    const auto refused = [](std::string label, Format format) {
        const auto image = seed::image_bytes({.label = std::move(label), .format = format, .files = {}});
        return !image && image.error().chain().front() == "label";
    };
    for (const char* bad : {"", "seventeen-letters", "a b", "\xc3\xa9", "a\n"})
        CHECK_MESSAGE(refused(bad, Format::kIso9660), bad);
    for (const char* bad : {"", "twelve-chars", "a b", "a.b", "\xc3\xa9", "a*"})
        CHECK_MESSAGE(refused(bad, Format::kVfat), bad);
    CHECK_FALSE(refused("config-2", Format::kIso9660));
    CHECK_FALSE(refused("config-2", Format::kVfat));
}

TEST_CASE("images that are damaged are refused, or read within bounds") {
    CHECK(seed::read_contents("").error().text().find("neither") != std::string::npos);
    CHECK(seed::read_contents(std::string(100'000, '\0')).error().text().find("neither") !=
          std::string::npos);
    for (const Format format : {Format::kIso9660, Format::kVfat}) {
        const std::string good = bytes_of({.label = "CFGDATA", .format = format, .files = plenty(false)});
        for (std::size_t length = 0; length < good.size(); length += 509)
            static_cast<void>(seed::read_contents(good.substr(0, length)));
        // Each byte of what says where things are, wild in turn.
        const std::size_t end = format == Format::kIso9660 ? 40 * seed::kSector : 24 * 512;
        for (std::size_t at = 0; at < std::min(end, good.size()); at += 3) {
            for (const char wild : {'\0', '\x01', '\x7f', '\xff'}) {
                std::string image = good;
                image[at] = wild;
                if (const auto contents = seed::read_contents(image); !contents)
                    CHECK(contents.error().fault() == Fault::kInput);
            }
        }
    }
}

TEST_CASE("a folder that holds itself ends somewhere") {
    std::string image = bytes_of(
        {.label = "CFGDATA", .format = Format::kIso9660, .files = {{.path = "a/b", .content = "x"}}});
    // The record of "a", behind those of the folder itself and of its parent, tells where its folder is.
    const std::size_t root =
        std::size_t{seed::load_le32(image, 16 * seed::kSector + 156 + 2)} * seed::kSector;
    const std::size_t own = root;
    const std::size_t parent = own + seed::load8(image, own);
    const std::size_t a = parent + seed::load8(image, parent);
    seed::store_le(image, a + 2, root / seed::kSector, 4);
    const auto contents = seed::read_contents(image);
    REQUIRE_FALSE(contents);
    CHECK(contents.error().text().find("nested deeper") != std::string::npos);
}
