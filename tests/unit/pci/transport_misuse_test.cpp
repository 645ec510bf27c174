// What a broken or hostile driver does, and that it hurts nobody but itself.
#include <doctest/doctest.h>

#include "tests/unit/pci/rig.h"

using namespace hako;
using namespace hako::test;
namespace status = hako::virtio::status;

namespace {

bool needs_reset(TransportRig& rig) {
    return (rig.driver->status() & status::kNeedsReset) != 0;
}

}  // namespace

TEST_CASE("features that were not offered, or no VERSION_1, keep FEATURES_OK clear") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    driver.enable();
    CHECK_FALSE(driver.negotiate(FakeDevice::kFeatures | 1U << 20));
    CHECK_FALSE(driver.negotiate(FakeDevice::kFeatures | std::uint64_t{1} << 40));
    CHECK_FALSE(driver.negotiate(FakeDevice::kFeatures & ~virtio::feature::kVersion1));
    CHECK_FALSE(driver.negotiate(0));
    CHECK_FALSE(needs_reset(rig));
    CHECK(driver.negotiate(virtio::feature::kVersion1));
}

TEST_CASE("a refused driver may think again before it goes on") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    driver.enable();
    CHECK_FALSE(driver.negotiate(FakeDevice::kFeatures | 1U << 20));
    driver.write(common::kDriverFeatureSelect, 4, 0);
    driver.write(common::kDriverFeature, 4, FakeDevice::kFeatures & 0xffffffff);
    driver.add_status(status::kFeaturesOk);
    CHECK((driver.status() & status::kFeaturesOk) != 0);
}

TEST_CASE("features cannot change after FEATURES_OK") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    driver.enable();
    REQUIRE(driver.negotiate(FakeDevice::kFeatures));
    driver.write(common::kDriverFeatureSelect, 4, 0);
    driver.write(common::kDriverFeature, 4, FakeDevice::kFeatures & 0xffffffff);  // no change, no harm
    CHECK_FALSE(needs_reset(rig));
    driver.write(common::kDriverFeature, 4, 0);
    CHECK(needs_reset(rig));
    CHECK(driver.read(common::kDriverFeature, 4) == (FakeDevice::kFeatures & 0xffffffff));
}

TEST_CASE("DRIVER_OK without FEATURES_OK starts nothing") {
    TransportRig rig;
    rig.driver->enable();
    rig.driver->write(common::kStatus, 1, status::kAcknowledge | status::kDriver | status::kDriverOk);
    CHECK(needs_reset(rig));
    CHECK((rig.driver->status() & status::kDriverOk) == 0);
    CHECK(rig.log.activations == 0);
}

TEST_CASE("status bits are only added, and only the driver's") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    rig.bring_up();
    const std::uint8_t before = driver.status();
    driver.write(common::kStatus, 1, status::kAcknowledge);
    CHECK(driver.status() == before);
    driver.write(common::kStatus, 1, before | status::kNeedsReset | 0x30);
    CHECK(driver.status() == before);
    driver.add_status(status::kDriverOk);
    CHECK(rig.log.activations == 1);
    driver.add_status(status::kFailed);
    CHECK(driver.status() == (before | status::kFailed));
}

TEST_CASE("a queue that does not exist reads zeros and takes nothing") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    driver.enable();
    REQUIRE(driver.negotiate(FakeDevice::kFeatures));
    for (const int index : {2, 3, 0x7fff, 0xffff}) {
        driver.set_queue(static_cast<std::uint16_t>(index), TransportRig::queue(0), 1);
        CHECK(driver.read(common::kQueueSelect, 2) == static_cast<std::uint64_t>(index));
        CHECK(driver.read(common::kQueueSize, 2) == 0);
        CHECK(driver.read(common::kQueueEnable, 2) == 0);
        CHECK(driver.read(common::kQueueVector, 2) == kNoVector);
        CHECK(driver.read(common::kQueueNotifyOff, 2) == 0);
        CHECK(driver.read(common::kQueueDescriptors, 8) == 0);
    }
    CHECK_FALSE(needs_reset(rig));
}

TEST_CASE("queue sizes are powers of two up to the device's") {
    for (const std::uint64_t good : {1U, 2U, 128U, 256U}) {
        TransportRig rig;
        rig.driver->enable();
        rig.driver->write(common::kQueueSize, 2, good);
        CHECK(rig.driver->read(common::kQueueSize, 2) == good);
        CHECK_FALSE(needs_reset(rig));
    }
    for (const std::uint64_t bad : {0U, 3U, 255U, 257U, 512U, 0x8000U, 0xffffU}) {
        TransportRig rig;
        rig.driver->enable();
        rig.driver->write(common::kQueueSize, 2, bad);
        CHECK(rig.driver->read(common::kQueueSize, 2) == 256);
        CHECK(needs_reset(rig));
    }
}

TEST_CASE("an enabled queue cannot be changed or disabled") {
    const auto refused = [](std::uint64_t field, std::size_t length, std::uint64_t value) {
        TransportRig rig;
        PciDriver& driver = *rig.driver;
        driver.enable();
        driver.enable_msix(0x40);
        REQUIRE(driver.negotiate(FakeDevice::kFeatures));
        driver.write(common::kConfigVector, 2, 0);
        driver.set_queue(0, TransportRig::queue(0), 1);
        const std::uint64_t before = driver.read(field, length);
        driver.write(field, length, before);
        CHECK_FALSE(needs_reset(rig));
        driver.write(field, length, value);
        CHECK(driver.read(field, length) == before);
        CHECK(needs_reset(rig));
        // It does not start any more, and says so once the driver listens.
        CHECK_FALSE(rig.interrupted(0x40));
        driver.driver_ok();
        CHECK((driver.status() & status::kDriverOk) != 0);
        CHECK(rig.interrupted(0x40));
        CHECK(rig.log.activations == 0);
    };
    refused(common::kQueueEnable, 2, 0);
    refused(common::kQueueEnable, 2, 2);
    refused(common::kQueueSize, 2, 128);
    refused(common::kQueueDescriptors, 4, 0x1000);
    refused(common::kQueueDriver + 4, 4, 1);
    refused(common::kQueueDevice, 8, 0x1000);
}

TEST_CASE("after DRIVER_OK the queues stand as they are: a try stops the device and keeps them") {
    const auto refused = [](std::uint16_t queue, std::uint64_t field, std::uint64_t value) {
        TransportRig rig;
        PciDriver& driver = *rig.driver;
        driver.enable();
        driver.enable_msix(0x40);
        REQUIRE(driver.negotiate(FakeDevice::kFeatures));
        driver.write(common::kConfigVector, 2, 0);
        driver.set_queue(0, TransportRig::queue(0), 1);
        driver.driver_ok();
        REQUIRE(rig.log.active);
        driver.write(common::kQueueSelect, 2, queue);
        const std::uint64_t before = driver.read(field, 2);
        driver.write(field, 2, value);
        CHECK(driver.read(field, 2) == before);
        CHECK(needs_reset(rig));
        CHECK_FALSE(rig.log.active);
        CHECK(rig.interrupted(0x40));
    };
    refused(0, common::kQueueSize, 128);
    refused(0, common::kQueueEnable, 0);
    refused(1, common::kQueueEnable, 1);
    refused(1, common::kQueueSize, 16);
}

TEST_CASE("a queue reset is not offered and does nothing") {
    TransportRig rig;
    rig.bring_up();
    rig.driver->write(0x3a, 2, 1);
    CHECK(rig.driver->read(0x3a, 2) == 0);
    CHECK_FALSE(needs_reset(rig));
    CHECK(rig.log.active);
}

TEST_CASE("read-only registers and odd widths take nothing") {
    TransportRig rig;
    PciDriver& driver = *rig.driver;
    rig.bring_up();
    const auto before = rig.transport->state();
    driver.write(common::kDeviceFeature, 4, 0);
    driver.write(common::kNumQueues, 2, 9);
    driver.write(common::kGeneration, 1, 9);
    driver.write(common::kQueueNotifyOff, 2, 9);
    driver.write(common::kStatus, 2, 0);
    driver.write(common::kStatus, 4, 0);
    driver.write(common::kQueueSelect, 1, 1);
    driver.write(common::kConfigVector, 4, 1);
    driver.write(0x38, 8, UINT64_MAX);
    driver.write(0x40, 8, UINT64_MAX);
    driver.write(0xffc, 4, UINT64_MAX);
    CHECK(driver.read(0x40, 4) == 0);
    CHECK(driver.read(0x3e, 4) == 0);
    CHECK(rig.transport->state() == before);
}
