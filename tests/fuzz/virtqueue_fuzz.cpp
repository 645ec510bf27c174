// libFuzzer target: a driver that writes whatever it likes into a virtqueue, and block requests parsed out of
// it.
//
// Input: one Setup, its patches, and then guest memory from address 0 up, in which the rings lie too.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/fuzz/require.h"
#include "virtio/blk/request.h"
#include "virtio/queue.h"

using namespace hako;
using hako::fuzz::require;
using namespace hako::virtio;

namespace {

constexpr std::uint64_t kMemory = 1 * MiB;
constexpr std::size_t kChainCapacity = 96;
constexpr std::uint32_t kRounds = 4;

struct __attribute__((packed)) Setup {
    std::uint8_t size_log2;  ///< bits 0-3; bit 7: the ring addresses below are taken as they are
    std::uint8_t features;   ///< bit 0 INDIRECT_DESC, bit 1 EVENT_IDX
    std::uint16_t next_avail;
    std::uint16_t next_used;
    std::uint8_t patches;
    std::uint8_t hold;  ///< which popped chains stay in flight
    std::uint64_t descriptors;
    std::uint64_t driver;
    std::uint64_t device;
};

/// The driver changes a byte while the device is at work.
struct __attribute__((packed)) Patch {
    std::uint16_t offset;
    std::uint8_t value;
};

class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
    template <typename T>
    T take() {
        T value{};
        const std::size_t count = std::min(size_, sizeof value);
        std::memcpy(&value, data_, count);
        data_ += count;
        size_ -= count;
        return value;
    }
    void take_rest(std::span<std::byte> memory) {
        if (size_ > 0) std::memcpy(memory.data(), data_, std::min(size_, memory.size()));
    }

  private:
    const std::uint8_t* data_;
    std::size_t size_;
};

/// Each segment lies in guest memory, is not empty, and may be touched at both ends.
std::uint64_t check_segments(GuestMemory& memory, std::span<const Segment> segments, bool write) {
    std::uint64_t total = 0;
    for (const Segment& segment : segments) {
        const auto bytes = memory.readable(segment.address, segment.length);
        require(segment.length > 0 && bytes && bytes->data() == segment.host,
                "a segment is not guest memory");
        volatile std::byte* first = segment.host;
        volatile std::byte* last = segment.host + segment.length - 1;
        if (write) {
            *first = std::byte{1};
            *last = std::byte{2};
        } else {
            [[maybe_unused]] const std::byte a = *first;
            [[maybe_unused]] const std::byte b = *last;
        }
        total += segment.length;
    }
    return total;
}

void check_chain(GuestMemory& memory, Chain& chain) {
    require(chain.readable().size() + chain.writable().size() <= kChainCapacity,
            "more segments than there is room");
    require(check_segments(memory, chain.readable(), false) == chain.readable_bytes(), "readable bytes");
    require(check_segments(memory, chain.writable(), false) == chain.writable_bytes(), "writable bytes");
    require(std::uint64_t{chain.readable_bytes()} + chain.writable_bytes() <= UINT32_MAX, "4 GiB in a chain");
}

/// As a block device would; returns the bytes it "wrote".
std::uint32_t serve_block_request(GuestMemory& memory, Chain& chain) {
    constexpr std::uint64_t kCapacity = 4096;
    const auto request = blk::take_request(chain);
    if (!request) {
        require(!blk::fault_text(request.error()).empty(), "a fault without text");
        return 0;
    }
    require(request->status.length == 1, "a status is one byte");
    check_chain(memory, chain);
    switch (request->type) {
        case blk::RequestType::kIn:
        case blk::RequestType::kOut: {
            const bool in = request->type == blk::RequestType::kIn;
            const std::uint32_t bytes = in ? chain.writable_bytes() : chain.readable_bytes();
            const auto range = blk::disk_range(request->sector, bytes, kCapacity);
            if (range) {
                require(range->length == bytes && range->offset <= kCapacity * blk::kSectorSize &&
                            range->length <= kCapacity * blk::kSectorSize - range->offset,
                        "a range beyond the disk");
            }
            if (in) check_segments(memory, chain.writable(), true);
            break;
        }
        case blk::RequestType::kDiscard:
        case blk::RequestType::kWriteZeroes: {
            const auto range = blk::take_range(chain, request->type, kCapacity);
            if (range) {
                require(range->range.offset + range->range.length <= kCapacity * blk::kSectorSize,
                        "a range beyond the disk");
            } else {
                require(range.error() != blk::RequestStatus::kOk, "a refusal that says OK");
            }
            break;
        }
        default:
            break;
    }
    *request->status.host = std::byte{0};
    return 1;
}

GuestMemory& fresh_memory() {
    static GuestMemory memory = GuestMemory::create({.size = kMemory, .thp = false}).value();
    std::memset(memory.writable_later(GuestAddress{0}, kMemory)->data(), 0, kMemory);
    return memory;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    const auto setup = input.take<Setup>();
    std::array<Patch, 256> patches{};
    for (std::size_t i = 0; i < setup.patches; ++i)
        patches[i] = input.take<Patch>();
    GuestMemory& memory = fresh_memory();
    const std::span<std::byte> ram = *memory.writable_later(GuestAddress{0}, kMemory);
    input.take_rest(ram);

    QueueConfig config;
    config.size = static_cast<std::uint16_t>(1U << (setup.size_log2 & 15));
    if ((setup.size_log2 & 0x80) != 0) {
        config.descriptors = GuestAddress{setup.descriptors};
        config.driver = GuestAddress{setup.driver};
        config.device = GuestAddress{setup.device};
    } else {
        config.driver = GuestAddress{std::uint64_t{16} * config.size};
        config.device = GuestAddress{align_up(std::uint64_t{18} * config.size + 6, 4)};
    }
    const std::uint64_t features = ((setup.features & 1) != 0 ? feature::kIndirectDesc : 0) |
                                   ((setup.features & 2) != 0 ? feature::kEventIdx : 0);
    auto queue = Queue::create(memory, config, features,
                               {.next_avail = setup.next_avail, .next_used = setup.next_used});
    if (!queue) {
        require(!queue.error().text().empty(), "an error without text");
        return 0;
    }

    Chain chain(kChainCapacity);
    std::size_t patch = 0;
    std::uint32_t popped_in_all = 0;
    for (std::uint32_t round = 0; round < kRounds; ++round) {
        queue->disable_notifications();
        for (std::uint32_t left = config.size; left > 0; --left) {
            const auto popped = queue->pop(chain);
            if (!popped) {
                require(!fault_text(popped.error()).empty(), "a fault without text");
                const auto again = queue->pop(chain);
                require(!again && again.error() == popped.error(), "a broken queue came back");
                break;
            }
            if (!*popped) break;
            require(queue->in_flight() <= config.size, "more in flight than the queue holds");
            if (patch < setup.patches) {
                ram[patches[patch].offset] = std::byte{patches[patch].value};
                ++patch;
            }
            check_chain(memory, chain);
            const std::uint16_t head = chain.head();
            const std::uint32_t written = serve_block_request(memory, chain);
            if ((setup.hold >> (popped_in_all++ % 8) & 1) == 0) queue->push_used(head, written);
        }
        queue->publish();
        const bool interrupt = queue->needs_interrupt();
        require(!queue->needs_interrupt(), "an interrupt for nothing");
        if (!queue->enable_notifications() && !interrupt) break;
    }
    return 0;
}
