#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/unit/seed/temporary.h"
#include "vmm/seed/hash.h"
#include "vmm/seed/iso.h"
#include "vmm/seed/seed.h"

using namespace hako;

namespace {

const seed::Config kFull{
    .user_data = "#cloud-config\nfinal_message: grüß Gott 世界 😀\n",
    .meta_data = "instance-id: web-1\nlocal-hostname: web\n",
    .network_config = "version: 2\n",
    .vendor_data = "#!/bin/sh\nexit 0\n",
};

std::string bytes_of(const seed::Image& image) {
    std::string bytes(image.size, '\0');
    CHECK(::pread(image.fd.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    return bytes;
}

std::string built(const seed::Config& config) {
    const auto image = seed::build(config);
    REQUIRE(image);
    return bytes_of(*image);
}

}  // namespace

TEST_CASE("other programs read from the image what was put in") {
    const test::TemporaryDirectory directory;
    const std::string iso = directory.file("seed.iso", built(kFull)).string();
    for (const auto& [name, content] : {std::pair{"user-data", kFull.user_data},
                                        {"meta-data", *kFull.meta_data},
                                        {"network-config", *kFull.network_config},
                                        {"vendor-data", *kFull.vendor_data}}) {
        CHECK(test::output_of(fmt::format("isoinfo -R -x /{} -i {}", name, iso)) == content + "0");
        CHECK(test::output_of(fmt::format("isoinfo -J -x /{} -i {}", name, iso)) == content + "0");
        CHECK(test::output_of(fmt::format("bsdtar -xOf {} {}", iso, name)) == content + "0");
    }
    CHECK(test::output_of("bsdtar -tf " + iso + " | sort") ==
          ".\nmeta-data\nnetwork-config\nuser-data\nvendor-data\n0");
    CHECK(test::output_of("/sbin/blkid -p -o value -s LABEL -s TYPE " + iso) == "cidata\niso9660\n0");
}

TEST_CASE("files that were not given are not there, and meta-data always is") {
    const test::TemporaryDirectory directory;
    const std::string iso = directory.file("seed.iso", built({.user_data = ""})).string();
    CHECK(test::output_of("bsdtar -tf " + iso + " | sort") == ".\nmeta-data\nuser-data\n0");
    const std::string meta_data = test::output_of("isoinfo -R -x /meta-data -i " + iso);
    CHECK(meta_data.starts_with("instance-id: iid-"));
    CHECK(meta_data.size() == std::string("instance-id: iid-0123456789abcdef\n0").size());
}

TEST_CASE("the same config gives the same bytes, later and in another time zone") {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
    const std::string first = built(kFull);
    const time_t now = ::time(nullptr);
    while (::time(nullptr) == now) {  // dates are written to the second
    }
    ::setenv("TZ", "Asia/Kolkata", 1);
    ::tzset();
    CHECK(built(kFull) == first);
    ::unsetenv("TZ");
    ::tzset();

    seed::Config other = kFull;
    other.user_data += "\n";
    CHECK(built(other) != first);
}

TEST_CASE("what is given beside the texts is in meta-data") {
    seed::Config config{.user_data = "", .instance_id = "123", .hostname = "web"};
    const auto disk = seed::disk_of(config);
    REQUIRE(disk);
    CHECK(disk->label == "cidata");
    REQUIRE(disk->files.size() == 2);
    CHECK(disk->files[0].path == "meta-data");
    CHECK(disk->files[0].content == "local-hostname: \"web\"\ninstance-id: \"123\"\n");
    config.meta_data = "instance-id: other\n";
    CHECK(seed::disk_of(config).error().text().starts_with("meta-data: it has another instance-id"));
    config = {.user_data = "", .instance_id = "a b"};
    CHECK(seed::disk_of(config).error().chain().front() == "instance-id");
    config = {.user_data = "", .hostname = "a_b"};
    CHECK(seed::disk_of(config).error().chain().front() == "hostname");
}

TEST_CASE("a seed is a FAT disk as well") {
    seed::Config config = kFull;
    config.format = seed::Format::kVfat;
    const test::TemporaryDirectory directory;
    const std::string image = directory.file("seed.img", built(config)).string();
    CHECK(test::output_of("/sbin/blkid -p -o value -s LABEL -s TYPE " + image) == "CIDATA\nvfat\n0");
}

TEST_CASE("nobody can change the image") {
    const auto image = seed::build(kFull);
    REQUIRE(image);
    CHECK(image->size % seed::kSector == 0);
    CHECK(image->checksum == seed::fnv1a(bytes_of(*image)));
    struct stat info{};
    REQUIRE(::fstat(image->fd.get(), &info) == 0);
    CHECK(static_cast<std::uint64_t>(info.st_size) == image->size);
    CHECK((info.st_mode & 0777) == 0600);

    CHECK(::pwrite(image->fd.get(), "x", 1, 0) == -1);
    CHECK(::ftruncate(image->fd.get(), 0) == -1);
    CHECK(::ftruncate(image->fd.get(), 1 << 20) == -1);
    CHECK(::fcntl(image->fd.get(), F_ADD_SEALS, F_SEAL_SEAL) == -1);
}

TEST_CASE("an error names the field") {
    const auto error_of = [](const seed::Config& config) {
        const auto image = seed::build(config);
        if (image) return std::string("no error");
        CHECK(image.error().fault() == Fault::kInput);
        return image.error().text();
    };
    seed::Config config = kFull;
    config.user_data = "what?";
    CHECK(error_of(config).starts_with("user-data: "));
    config = kFull;
    config.meta_data = "[";
    CHECK(error_of(config).starts_with("meta-data: line 1, column "));
    config = kFull;
    config.network_config = "a: 1\n b: 2\n";
    CHECK(error_of(config).starts_with("network-config: line 2, column "));
    config = kFull;
    config.vendor_data = "what?";
    CHECK(error_of(config).starts_with("vendor-data: "));
    config = kFull;
    config.user_data = "#!" + std::string(seed::kMaxText, 'x');
    CHECK(error_of(config).starts_with("user-data: 1048578 bytes"));
    config.user_data = "#!" + std::string(seed::kMaxText - 2, 'x');
    CHECK(error_of(config) == "no error");
}

TEST_CASE("texts are read from regular files of bounded size") {
    const test::TemporaryDirectory directory;
    const auto user_data = directory.file("user-data", kFull.user_data);
    const auto meta_data = directory.file("meta-data", *kFull.meta_data);
    const auto config =
        seed::from_files({.user_data = user_data, .meta_data = meta_data, .vendor_data = meta_data});
    REQUIRE(config);
    CHECK(config->user_data == kFull.user_data);
    CHECK(config->meta_data == kFull.meta_data);
    CHECK(config->vendor_data == kFull.meta_data);
    CHECK_FALSE(config->network_config);

    const auto error_of = [&](const std::filesystem::path& path) {
        const auto result = seed::from_files({.user_data = user_data, .network_config = path});
        if (result) return std::string("no error");
        CHECK(result.error().fault() == Fault::kInput);
        return result.error().text();
    };
    CHECK(error_of(directory.path() / "missing").starts_with("network-config: cannot open"));
    CHECK(error_of(directory.path()).find("not a regular file") != std::string::npos);
    CHECK(error_of("/dev/null").find("not a regular file") != std::string::npos);
    const auto pipe = directory.path() / "pipe";
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    CHECK(error_of(pipe).find("not a regular file") != std::string::npos);
    CHECK(error_of(directory.file("large", std::string(seed::kMaxText + 1, ' '))).find("larger than 1 MiB") !=
          std::string::npos);
    CHECK(error_of(directory.file("full", std::string(seed::kMaxText, ' '))) == "no error");
}
