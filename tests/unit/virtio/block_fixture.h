// A block device with a driver in front of it and an image behind: everything but the VM.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tests/unit/virtio/driver_queue.h"
#include "tests/unit/virtio/fake_transport.h"
#include "virtio/blk/device.h"
#include "virtio/blk/protocol.h"

namespace hako::test {

namespace blk = virtio::blk;

inline blk::Config disk_config(const std::string& path, std::uint16_t queues = 1,
                               std::uint16_t queue_size = 64) {
    return {.id = "_disk0", .path = path, .serial = "serial-1", .queues = queues, .queue_size = queue_size};
}

/// Guest memory: rings from 64 KiB, headers and statuses from 1 MiB, data from 2 MiB.
inline constexpr GuestAddress kData{2 * MiB};

struct Answer {
    std::uint8_t status = 0xff;  ///< RequestStatus; 0xff: not written
    std::uint32_t written = 0;

    bool operator==(const Answer&) const = default;
};

class BlockFixture {
  public:
    BlockFixture(io::Engine& engine, const blk::Config& config, blk::Disk disk,
                 const std::optional<blk::State>& state = std::nullopt,
                 virtio::Clock now = std::chrono::steady_clock::now)
        : transport(config.queues), config_(config) {
        device = blk::BlockDevice::create(config, std::move(disk), engine, state, now).value();
        for (std::uint16_t i = 0; i < config.queues; ++i)
            drivers.emplace_back(memory, i == 0 ? GuestAddress{64 * KiB} : drivers.back().end(),
                                 config.queue_size);
    }
    BlockFixture(io::Engine& engine, const blk::Config& config)
        : BlockFixture(engine, config, blk::Disk::open(config).value()) {}

    void activate(std::uint64_t without = 0, std::span<const virtio::QueuePosition> positions = {}) {
        features = device->features() & ~without & ~virtio::feature::kEventIdx;
        std::vector<virtio::QueueConfig> queues;
        for (const DriverQueue& driver : drivers)
            queues.push_back(driver.config());
        REQUIRE(device->activate({.features = features,
                                  .memory = memory,
                                  .hooks = transport,
                                  .queues = queues,
                                  .kicks = transport.kicks,
                                  .positions = positions}));
    }

    /// Writes a header and gives the buffers of a request in which `data` lies between header and status.
    std::vector<Buffer> request(std::uint16_t slot, blk::RequestType type, std::uint64_t sector,
                                std::span<const Buffer> data) {
        const blk::RequestHeader header{
            .type = static_cast<std::uint32_t>(type), .reserved = 0, .sector = sector};
        CHECK(memory.store(header_address(slot), header));
        CHECK(memory.store(status_address(slot), std::uint8_t{0xff}));
        std::vector<Buffer> buffers = {{header_address(slot), sizeof header, false}};
        buffers.insert(buffers.end(), data.begin(), data.end());
        buffers.push_back({status_address(slot), 1, true});
        return buffers;
    }
    void kick(std::size_t queue = 0) {
        if (drivers[queue].publish()) transport.kicks[queue].signal();
    }
    /// Waits for the next used chain.
    std::optional<DriverQueue::Used> await(std::size_t queue = 0) {
        for (;;) {
            if (const auto used = drivers[queue].take_used()) return used;
            if (!wait_for(transport.interrupts[queue])) return std::nullopt;
        }
    }
    /// One request from beginning to end.
    Answer run(blk::RequestType type, std::uint64_t sector, std::span<const Buffer> data = {},
               std::size_t queue = 0) {
        const auto slot = static_cast<std::uint16_t>(500 + queue);
        REQUIRE(drivers[queue].add(request(slot, type, sector, data)));
        kick(queue);
        const auto used = await(queue);
        REQUIRE(used);
        return {.status = status(slot), .written = used->written};
    }
    Answer read(std::uint64_t sector, GuestAddress to, std::uint32_t length) {
        return run(blk::RequestType::kIn, sector, std::array{Buffer{to, length, true}});
    }
    Answer write(std::uint64_t sector, GuestAddress from, std::uint32_t length) {
        return run(blk::RequestType::kOut, sector, std::array{Buffer{from, length, false}});
    }
    Answer range(blk::RequestType type, std::uint64_t sector, std::uint32_t sectors,
                 std::uint32_t flags = 0) {
        CHECK(memory.store(kData, blk::RangeSegment{.sector = sector, .sectors = sectors, .flags = flags}));
        return run(type, 0, std::array{Buffer{kData, sizeof(blk::RangeSegment), false}});
    }

    [[nodiscard]] std::uint8_t status(std::uint16_t slot) const {
        return memory.load<std::uint8_t>(status_address(slot)).value();
    }
    static GuestAddress header_address(std::uint16_t slot) {
        return GuestAddress{1 * MiB + 64 * std::uint64_t{slot}};
    }
    static GuestAddress status_address(std::uint16_t slot) { return header_address(slot) + 32; }

    void fill(GuestAddress address, std::size_t length, std::uint8_t value) {
        std::memset(memory.writable(address, length)->data(), value, length);
    }
    [[nodiscard]] bool holds(GuestAddress address, std::size_t length, std::uint8_t value) const {
        return std::ranges::all_of(memory.readable(address, length).value(),
                                   [&](std::byte byte) { return byte == std::byte{value}; });
    }
    [[nodiscard]] blk::ConfigSpace config_space() {
        blk::ConfigSpace space{};
        device->read_config(0, std::as_writable_bytes(std::span(&space, 1)));
        return space;
    }

    GuestMemory memory = GuestMemory::create({.size = 16 * MiB}).value();
    FakeTransport transport;
    std::vector<DriverQueue> drivers;
    std::uint64_t features = 0;
    std::unique_ptr<blk::BlockDevice> device;  // goes before the memory and the transport it works on

  private:
    blk::Config config_;
};

inline constexpr std::uint8_t kOk = 0;
inline constexpr std::uint8_t kIoError = 1;
inline constexpr std::uint8_t kUnsupported = 2;

}  // namespace hako::test
