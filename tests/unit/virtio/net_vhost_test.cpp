// What of vhost-net needs no /dev/vhost-net: what the kernel is told.
#include <doctest/doctest.h>

#include "virtio/net/protocol.h"
#include "virtio/net/vhost.h"

using namespace hako;
using namespace hako::virtio;
using namespace hako::virtio::net;

TEST_CASE("vhost: the kernel gets the features of the rings and the header, the tap all others") {
    constexpr std::uint64_t kRings = virtio::feature::kVersion1 | virtio::feature::kIndirectDesc |
                                     virtio::feature::kEventIdx | net::feature::kMergeableBuffers;
    CHECK(kVhostFeatures == kRings);
    CHECK(vhost_features(~std::uint64_t{0}) == kRings);
    CHECK((vhost_features(~std::uint64_t{0}) & (std::uint64_t{1} << VHOST_NET_F_VIRTIO_NET_HDR)) == 0);
    CHECK((vhost_features(~std::uint64_t{0}) & (std::uint64_t{1} << VHOST_F_LOG_ALL)) == 0);
    CHECK(vhost_features(virtio::feature::kVersion1 | net::feature::kCsum) == virtio::feature::kVersion1);
}

TEST_CASE("vhost: the memory table is the guest's memory, hole and all") {
    const GuestMemory small = GuestMemory::create({.size = 16 * MiB}).value();
    const auto one = vhost_regions(small);
    REQUIRE(one.size() == 1);
    CHECK(one[0].guest_phys_addr == 0);
    CHECK(one[0].memory_size == 16 * MiB);
    CHECK(one[0].userspace_addr == reinterpret_cast<std::uintptr_t>(small.regions()[0].host));

    const GuestMemory large = GuestMemory::create({.size = 5 * GiB}).value();  // nothing of it is touched
    const auto two = vhost_regions(large);
    REQUIRE(two.size() == 2);
    CHECK(two[0].memory_size == 3 * GiB);
    CHECK(two[1].guest_phys_addr == 4 * GiB);
    CHECK(two[1].memory_size == 2 * GiB);
    CHECK(two[1].userspace_addr == reinterpret_cast<std::uintptr_t>(large.regions()[1].host));
    CHECK(two[1].flags_padding == 0);
}

TEST_CASE("vhost: the rings are told by hako's addresses, and checked as those of any queue") {
    GuestMemory memory = GuestMemory::create({.size = 16 * MiB}).value();
    const std::uint64_t base = reinterpret_cast<std::uintptr_t>(memory.regions()[0].host);
    QueueConfig config{.size = 256,
                       .descriptors = GuestAddress{1 * MiB},
                       .driver = GuestAddress{2 * MiB},
                       .device = GuestAddress{3 * MiB},
                       .enabled = true};
    const auto addresses = vhost_ring_addresses(memory, 1, config);
    REQUIRE(addresses);
    CHECK(addresses->index == 1);
    CHECK(addresses->flags == 0);
    CHECK(addresses->desc_user_addr == base + 1 * MiB);
    CHECK(addresses->avail_user_addr == base + 2 * MiB);
    CHECK(addresses->used_user_addr == base + 3 * MiB);
    CHECK(addresses->log_guest_addr == 0);

    const auto refused = [&](auto change) {
        QueueConfig bad = config;
        change(bad);
        return !vhost_ring_addresses(memory, 0, bad);
    };
    CHECK(refused([](QueueConfig& bad) { bad.device = GuestAddress{16 * MiB - 8}; }));
    CHECK(refused([](QueueConfig& bad) { bad.descriptors = GuestAddress{1 * MiB + 8}; }));
    CHECK(refused([](QueueConfig& bad) { bad.driver = GuestAddress{1024 * GiB}; }));
    CHECK(refused([](QueueConfig& bad) { bad.size = 3; }));
}
