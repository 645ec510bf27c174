#include "vmm/seed/helper.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "tests/unit/seed/temporary.h"
#include "vmm/seed/contents.h"
#include "vmm/seed/read_file.h"
#include "vmm/seed/seed.h"

using namespace hako;

TEST_CASE("a helper has its image, and one takes the place of another") {
    std::vector<seed::Helper> helpers;
    seed::put_helper(helpers, seed::make_seed({.user_data = ""}).value());
    seed::put_helper(helpers, seed::make_helper("a", "serial", {.label = "one", .files = {}}).value());
    REQUIRE(helpers.size() == 2);
    CHECK(helpers[0].id == seed::kSeedId);
    CHECK(helpers[0].serial == "cidata");
    CHECK(helpers[1].image->size > 0);
    // A clone's seed: another instance.
    const std::uint64_t before = helpers[0].image->checksum;
    seed::put_helper(helpers, seed::make_seed({.user_data = "", .instance_id = "clone"}).value());
    CHECK(helpers.size() == 2);
    CHECK(helpers[0].image->checksum != before);
}

TEST_CASE("a folder of the host is read as Kubernetes mounts it") {
    namespace fs = std::filesystem;
    const test::TemporaryDirectory directory;
    const fs::path folder = directory.path() / "volume";
    fs::create_directories(folder / "..2024_01_01");
    fs::create_directories(folder / "sub");
    static_cast<void>(directory.file("volume/..2024_01_01/key", "value"));
    static_cast<void>(directory.file("volume/sub/file", "below"));
    fs::create_directory_symlink("..2024_01_01", folder / "..data");
    fs::create_symlink("..data/key", folder / "key");
    const auto files = seed::read_folder(folder);
    REQUIRE(files);
    REQUIRE(files->size() == 2);
    CHECK((*files)[0] == seed::File{.path = "key", .content = "value"});
    CHECK((*files)[1] == seed::File{.path = "sub/file", .content = "below"});

    CHECK(seed::read_folder(directory.path() / "missing").error().fault() == Fault::kInput);
    CHECK(seed::read_folder(folder / "key").error().fault() == Fault::kInput);
    fs::create_directory_symlink(".", folder / "loop");
    CHECK(seed::read_folder(folder).error().text().find("nested deeper") != std::string::npos);
    fs::remove(folder / "loop");
    REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
    CHECK(seed::read_folder(folder).error().text().find("not a regular file") != std::string::npos);
}
