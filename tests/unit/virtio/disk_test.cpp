#include "virtio/blk/disk.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <string>

#include "tests/unit/virtio/temp_image.h"
#include "vmm/base/units.h"

using namespace hako;
using namespace hako::virtio::blk;
using test::TempImage;

namespace {

Config config_for(const std::string& path, bool readonly = false) {
    return {.id = "_disk0", .path = path, .readonly = readonly, .serial = {}, .direct = {}};
}

/// The error of opening `path`: one line that names it, and the user's to mend.
std::string refusal(const Config& config) {
    const auto disk = Disk::open(config);
    REQUIRE_FALSE(disk.has_value());
    CHECK(disk.error().fault() == Fault::kInput);
    const std::string text = disk.error().text();
    CHECK(text.find(config.path) != std::string::npos);
    CHECK(text.find('\n') == std::string::npos);
    return text;
}

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("an image has the size of its file in whole sectors") {
    const TempImage image(1 * MiB + 1000);
    auto disk = Disk::open(config_for(image.path()));
    REQUIRE(disk);
    CHECK(disk->capacity().value() == (1 * MiB + 1000) / 512);
    CHECK_FALSE(disk->readonly());
    CHECK(disk->topology().logical_block == 512);
    CHECK(disk->topology().physical_block >= 512);
}

TEST_CASE("an image that is missing, a directory, a FIFO, a socket or empty is the user's to mend") {
    const std::filesystem::path directory = std::filesystem::temp_directory_path();
    CHECK(contains(refusal(config_for("/nonexistent/disk.raw")), "does not exist"));
    CHECK(contains(refusal(config_for(directory)), "is a directory"));
    CHECK(contains(refusal(config_for(directory, true)), "is a directory"));
    CHECK(contains(refusal(config_for("/dev/null")), "neither a file nor a block device"));

    const TempImage empty(0);
    CHECK(contains(refusal(config_for(empty.path())), "is empty"));
    const TempImage tiny(511);
    CHECK(contains(refusal(config_for(tiny.path())), "is empty"));

    // Opening a FIFO would wait for its other end.
    const TempImage place(0);
    const std::string fifo = place.path() + ".fifo";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    CHECK(contains(refusal(config_for(fifo, true)), "neither a file nor a block device"));
    ::unlink(fifo.c_str());
}

TEST_CASE("an image that may not be written says how to go on") {
    const TempImage image(1 * MiB);
    REQUIRE(::chmod(image.path().c_str(), 0444) == 0);
    const bool root = ::geteuid() == 0;
    if (root) REQUIRE(::seteuid(65534) == 0);  // rights do not bind root
    const std::string text = refusal(config_for(image.path()));
    auto readonly = Disk::open(config_for(image.path(), true));
    if (root) REQUIRE(::seteuid(0) == 0);
    CHECK(contains(text, "cannot be opened for writing"));
    CHECK(contains(text, "readonly"));
    CHECK(readonly);
}

TEST_CASE("a second writer of an image is refused, and told who has it") {
    const TempImage image(1 * MiB);
    std::optional<Disk> first = Disk::open(config_for(image.path())).value();
    const std::string text = refusal(config_for(image.path()));
    CHECK(contains(text, "in use by another process"));
    CHECK(contains(text, fmt::format("(pid {})", ::getpid())));
    CHECK(contains(refusal(config_for(image.path(), true)), "in use"));  // a reader would see it change
    first.reset();
    CHECK(Disk::open(config_for(image.path())));
}

TEST_CASE("readers share an image and keep writers off") {
    const TempImage image(1 * MiB);
    std::optional<Disk> first = Disk::open(config_for(image.path(), true)).value();
    auto second = Disk::open(config_for(image.path(), true));
    REQUIRE(second);
    CHECK(contains(refusal(config_for(image.path())), "in use"));
    first.reset();
    CHECK(contains(refusal(config_for(image.path())), "in use"));
}

TEST_CASE("a lock dies with its process") {
    const TempImage image(1 * MiB);
    std::array<int, 2> locked{};
    std::array<int, 2> finish{};
    REQUIRE(::pipe(locked.data()) == 0);
    REQUIRE(::pipe(finish.data()) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    char byte = 0;
    if (child == 0) {
        ::close(finish[1]);
        const auto disk = Disk::open(config_for(image.path()));
        byte = disk ? 'y' : 'n';
        [[maybe_unused]] ssize_t done = ::write(locked[1], &byte, 1);
        done = ::read(finish[0], &byte, 1);
        ::_exit(0);  // without releasing anything
    }
    ::close(finish[0]);
    REQUIRE(::read(locked[0], &byte, 1) == 1);
    CHECK(byte == 'y');
    const std::string text = refusal(config_for(image.path()));
    INFO(text);
    CHECK(contains(text, fmt::format("(pid {})", child)));
    ::close(finish[1]);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    CHECK(Disk::open(config_for(image.path())));
    ::close(locked[0]);
    ::close(locked[1]);
}

TEST_CASE("an image changes hands without letting a third in") {
    const TempImage image(1 * MiB);
    auto source = Disk::open(config_for(image.path())).value();
    // The destination has its file open but not locked.
    const Fd file(::open(image.path().c_str(), O_RDWR | O_CLOEXEC));
    ImageLock destination(file.get(), ImageLock::Use::kWrite, image.path());

    REQUIRE(destination.announce());
    CHECK_FALSE(destination.own());  // not released yet, and own() has dropped the announcement
    REQUIRE(destination.announce());
    source.lock().release();
    CHECK(contains(refusal(config_for(image.path())), "in use"));  // though nobody owns it
    REQUIRE(destination.own());
    CHECK_FALSE(source.lock().own());
    destination.release();
    CHECK(source.lock().own());
    CHECK(contains(refusal(config_for(image.path())), "in use"));
}

TEST_CASE("the lock bytes are those of QEMU's tools") {
    const TempImage image(1 * MiB);
    for (const long offset : {101L, 201L}) {
        const Fd file(::open(image.path().c_str(), O_RDWR | O_CLOEXEC));
        struct ::flock lock{};
        lock.l_type = F_RDLCK;
        lock.l_whence = SEEK_SET;
        lock.l_start = offset;
        lock.l_len = 1;
        REQUIRE(::fcntl(file.get(), F_OFD_SETLK, &lock) == 0);
        CHECK(contains(refusal(config_for(image.path())), "in use"));
    }
    CHECK(Disk::open(config_for(image.path())));
}

TEST_CASE("direct I/O is used where the file allows it and never where it is off") {
    const TempImage image(1 * MiB);
    Config config = config_for(image.path());
    config.direct = false;
    CHECK(Disk::open(config).value().direct_fd() == -1);
    config.direct = std::nullopt;
    const bool possible = Disk::open(config).value().direct_fd() >= 0;
    config.direct = true;
    if (possible) {
        const auto disk = Disk::open(config);
        REQUIRE(disk);
        CHECK((::fcntl(disk->direct_fd(), F_GETFL) & O_DIRECT) != 0);
        CHECK((::fcntl(disk->buffered_fd(), F_GETFL) & O_DIRECT) == 0);
    } else {
        CHECK(contains(refusal(config), "direct I/O"));
    }
}

TEST_CASE("an open file can be taken over, read-only") {
    Fd memory(::memfd_create("seed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::ftruncate(memory.get(), 10 * 512) == 0);
    REQUIRE(::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    const auto disk = Disk::adopt(std::move(memory), "cloud-init");
    REQUIRE(disk);
    CHECK(disk->readonly());
    CHECK(disk->direct_fd() == -1);
    CHECK(disk->capacity().value() == 10);
    CHECK(disk->name() == "cloud-init");

    CHECK_FALSE(Disk::adopt(Fd(::memfd_create("empty", MFD_CLOEXEC)), "empty"));
    CHECK_FALSE(Disk::adopt(Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)), "null"));
}
