#include "vmm/boot/loader.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loading.h"
#include "vmm/boot/payload_file.h"

using namespace hako;
using namespace hako::testing;

TEST_CASE("files that are no kernel are refused, each in one line that names them") {
    Loading loading;
    const std::string directory = loading.directory().path().string();
    PayloadConfig& payload = loading.payload();

    payload.kernel = directory + "/missing";
    check_refused(loading.load(),
                  "kernel " + directory + "/missing: No such file or directory (ENOENT): check the path");
    payload.kernel = directory;
    check_refused(loading.load(), directory + " is a directory");
    payload.kernel = "";
    check_refused(loading.load(), "no kernel given");
    payload.kernel = "/dev/zero";
    check_refused(loading.load(), "not a regular file");
    payload.kernel = directory + "/fifo";
    REQUIRE(::mkfifo(payload.kernel.c_str(), 0600) == 0);
    check_refused(loading.load(), "not a regular file");  // and at once: nobody writes to it
    check_refused(loading.kernel({}).load(), "is empty");
    check_refused(loading.kernel(Bytes(1)).load(), "neither a bzImage nor an ELF kernel with a PVH note");
    check_refused(loading.kernel(Bytes(1 * MiB)).load(),
                  "neither a bzImage nor an ELF kernel with a PVH note");
}

TEST_CASE("an initrd that cannot be used is refused by name") {
    Loading loading;
    loading.kernel(bzimage());
    loading.payload().initrd = loading.directory().path().string() + "/missing";
    check_refused(loading.load(), "cannot open initrd ");
    loading.payload().initrd = loading.directory().path().string();
    check_refused(loading.load(), "is a directory");
    check_refused(loading.initrd(0).load(), "is empty");
}

TEST_CASE("a file larger than RAM is refused before it is read") {
    Loading loading;
    loading.kernel(bzimage()).initrd(1);
    REQUIRE(::truncate(loading.payload().initrd.c_str(), static_cast<off_t>(1024 * GiB)) == 0);
    check_refused(loading.load(), "too large");
}

TEST_CASE("a file that shrinks while it is read is an error, not a crash") {
    Loading loading;
    loading.kernel(bzimage());
    const auto file = boot::PayloadFile::open(loading.payload().kernel, "kernel");
    REQUIRE(file);
    REQUIRE(::truncate(loading.payload().kernel.c_str(), 100) == 0);
    const auto result = file->load(loading.memory(), GuestAddress{MiB}, 0, file->size());
    REQUIRE_FALSE(result);
    CHECK(result.error().text().find("shrank") != std::string::npos);
}

TEST_CASE("check() tells what load() would, without a machine") {
    Loading loading;
    loading.kernel(bzimage());
    CHECK(boot::check(loading.payload(), 32 * MiB));
    const auto refused = boot::check(loading.payload(), 8 * MiB);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text().find("--memory") != std::string::npos);
}
