// Disks on a real block device of this host: a loop device, where the test may make one.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <array>
#include <optional>
#include <string>

#include "tests/unit/virtio/block_fixture.h"
#include "tests/unit/virtio/temp_image.h"

using namespace hako;
using namespace hako::virtio;
using namespace hako::virtio::blk;
using test::BlockFixture;
using test::disk_config;
using test::kData;
using test::TempImage;

namespace {

class LoopDevice {
  public:
    /// Nothing where this host does not let us have one.
    static std::optional<LoopDevice> create(const std::string& file, std::uint32_t block_size) {
        const Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
        const Fd backing(::open(file.c_str(), O_RDWR | O_CLOEXEC));
        if (!control.valid() || !backing.valid()) return std::nullopt;
        for (int attempt = 0; attempt < 16; ++attempt) {
            const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
            if (number < 0) return std::nullopt;
            LoopDevice loop;
            loop.path_ = fmt::format("/dev/loop{}", number);
            loop.fd_ = Fd(::open(loop.path_.c_str(), O_RDWR | O_CLOEXEC));
            loop_config config{};
            config.fd = static_cast<std::uint32_t>(backing.get());
            config.block_size = block_size;
            config.info.lo_flags = LO_FLAGS_AUTOCLEAR;  // a test that is killed leaves none behind
            if (!loop.fd_.valid()) return std::nullopt;
            if (::ioctl(loop.fd_.get(), LOOP_CONFIGURE, &config) == 0) return loop;
            loop.fd_.reset();
            if (errno != EBUSY) return std::nullopt;  // else somebody was quicker
        }
        return std::nullopt;
    }
    LoopDevice(LoopDevice&&) = default;
    LoopDevice& operator=(LoopDevice&&) = delete;
    ~LoopDevice() {
        if (fd_.valid()) ::ioctl(fd_.get(), LOOP_CLR_FD);
    }

    [[nodiscard]] const std::string& path() const { return path_; }
    void look_at_size() const { ::ioctl(fd_.get(), LOOP_SET_CAPACITY); }

  private:
    LoopDevice() = default;
    std::string path_;
    Fd fd_;
};

}  // namespace

TEST_CASE("a block device shows its own block sizes, takes every request and grows") {
    for (const std::uint32_t block : {512U, 4096U}) {
        TempImage image(8 * MiB);
        const auto loop = LoopDevice::create(image.path(), block);
        if (!loop) {
            MESSAGE("no loop device can be made here: not tested");
            return;
        }
        auto engine = io::Engine::create().value();
        BlockFixture disk(*engine, disk_config(loop->path()));
        disk.activate();
        const ConfigSpace space = disk.config_space();
        CHECK(space.capacity == 8 * MiB / 512);
        CHECK(space.blk_size == block);
        CHECK(disk.device->disk().direct_fd() >= 0);
        CHECK_FALSE(Disk::open(disk_config(loop->path())));  // locked

        disk.fill(kData, 8192, 0x5c);
        CHECK(disk.write(8, kData, 8192).status == test::kOk);
        CHECK(disk.write(32, kData + 1, 4096).status == test::kOk);
        CHECK(disk.run(RequestType::kFlush, 0).status == test::kOk);
        CHECK(disk.read(8, kData + 0x10000, 8192).status == test::kOk);
        CHECK(disk.holds(kData + 0x10000, 8192, 0x5c));
        CHECK(disk.range(RequestType::kDiscard, 32, 8).status == test::kOk);
        CHECK(disk.range(RequestType::kWriteZeroes, 8, 8).status == test::kOk);
        CHECK(disk.range(RequestType::kWriteZeroes, 16, 8, kRangeUnmap).status == test::kOk);
        CHECK(disk.read(8, kData + 0x10000, 8192).status == test::kOk);
        CHECK(disk.holds(kData + 0x10000, 8192, 0));
        // Not a whole block where these are 4 KiB: done by writing through the page cache.
        disk.fill(kData, 4096, 0x5d);
        CHECK(disk.write(64, kData, 4096).status == test::kOk);
        CHECK(disk.range(RequestType::kWriteZeroes, 65, 1).status == test::kOk);
        CHECK(disk.read(64, kData + 0x10000, 4096).status == test::kOk);
        CHECK(disk.holds(kData + 0x10000, 512, 0x5d));
        CHECK(disk.holds(kData + 0x10200, 512, 0));
        CHECK(disk.holds(kData + 0x10400, 3072, 0x5d));

        image.resize(16 * MiB);
        loop->look_at_size();
        CHECK(disk.device->refresh_capacity().value());
        CHECK(disk.config_space().capacity == 16 * MiB / 512);
        disk.device.reset();
    }
}

TEST_CASE("a block device that this host uses itself may only be read") {
    const TempImage image(8 * MiB);
    const auto loop = LoopDevice::create(image.path(), 512);
    if (!loop) {
        MESSAGE("no loop device can be made here: not tested");
        return;
    }
    const Fd claim(::open(loop->path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));  // as mount(2) does
    REQUIRE(claim.valid());
    const auto disk = Disk::open(disk_config(loop->path()));
    REQUIRE_FALSE(disk);
    CHECK(disk.error().fault() == Fault::kInput);
    CHECK(disk.error().text().find("in use by this host") != std::string::npos);
    Config readonly = disk_config(loop->path());
    readonly.readonly = true;
    CHECK(Disk::open(readonly));
}

TEST_CASE("requests to an image that was taken away fail, each with an answer") {
    const TempImage image(8 * MiB);
    auto engine = io::Engine::create().value();
    Config config = disk_config(image.path());
    config.limits.operations = {.tokens = 2, .interval = std::chrono::hours(1)};
    BlockFixture disk(*engine, config);
    disk.activate();
    CHECK(disk.read(0, kData, 4096).status == test::kOk);

    SUBCASE("at work") {}
    SUBCASE("paused") {
        disk.device->pause();
    }
    disk.device->take_disk().lock().release();
    CHECK(Disk::open(config));  // nobody holds it any more
    disk.device->resume();
    for (int i = 0; i < 100; ++i)
        CHECK(disk.read(0, kData, 4096).status == test::kIoError);
    CHECK(disk.write(0, kData, 4096).status == test::kIoError);
    CHECK(disk.run(RequestType::kFlush, 0).status == test::kIoError);
    CHECK(disk.range(RequestType::kDiscard, 0, 8).status == test::kIoError);
    disk.device.reset();
}
