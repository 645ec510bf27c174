// A guest that sends each UDP packet back, as soon as it can: for benchmarks of restored machines.
#include "tests.h"
#include "virtio.h"

namespace guest {
namespace {

constexpr std::uint16_t kNoInterrupt = 1;
constexpr std::uint32_t kNetHeader = 12;  // struct virtio_net_hdr with num_buffers
constexpr std::uint32_t kBufferSize = 2048;
constexpr std::uint32_t kLargest = 1514;

// Ethernet and IPv4 without options: where source and destination lie, and how long they are.
constexpr std::uint32_t kMacs = 0;
constexpr std::uint32_t kAddresses = 26;
constexpr std::uint32_t kPorts = 34;
constexpr std::uint32_t kUdpHeaderEnd = 42;

alignas(4096) Rings received;
alignas(4096) Rings sent;
alignas(4096) std::uint8_t buffers[kQueueSize][kBufferSize];

void swap(std::uint8_t* first, std::uint32_t size) {
    for (std::uint32_t i = 0; i < size; ++i) {
        const std::uint8_t kept = first[i];
        first[i] = first[size + i];
        first[size + i] = kept;
    }
}

void make_available(Rings& rings, std::uint16_t id) {
    rings.available.ring[rings.available.index % kQueueSize] = id;
    asm volatile("" ::: "memory");
    *const_cast<volatile std::uint16_t*>(&rings.available.index) =
        static_cast<std::uint16_t>(rings.available.index + 1);
}

bool used(const Rings& rings, std::uint16_t seen) {
    return *const_cast<const volatile std::uint16_t*>(&rings.used.index) != seen;
}

}  // namespace

void test_echo() {
    VirtioPci net = find_device(kNetDevice);
    net.negotiate(kVersion1);
    net.set_up(received, kQueueInterrupt, kConfigInterrupt);
    net.set_up_second(sent);
    received.available.flags = sent.available.flags = kNoInterrupt;
    for (std::uint16_t id = 0; id < kQueueSize; ++id) {
        received.descriptors[id] = {reinterpret_cast<std::uint64_t>(buffers[id]), kBufferSize, kWrite, 0};
        make_available(received, id);
    }
    net.driver_ok();
    net.notify();
    print("ready\n");
    for (std::uint16_t seen = 0;; ++seen) {
        while (!used(received, seen))
            asm volatile("pause");
        const UsedElement element = received.used.ring[seen % kQueueSize];
        CHECK(element.id < kQueueSize && element.length <= kNetHeader + kLargest);
        const auto id = static_cast<std::uint16_t>(element.id);
        if (element.length >= kNetHeader + kUdpHeaderEnd) {
            memset(buffers[id], 0, kNetHeader);
            std::uint8_t* frame = buffers[id] + kNetHeader;
            swap(frame + kMacs, 6);
            swap(frame + kAddresses, 4);
            swap(frame + kPorts, 2);
            const std::uint16_t before = sent.used.index;
            sent.descriptors[id] = {reinterpret_cast<std::uint64_t>(buffers[id]), element.length, 0, 0};
            make_available(sent, id);
            net.notify_second();
            while (!used(sent, before))
                asm volatile("pause");
        }
        make_available(received, id);
        net.notify();
    }
}

}  // namespace guest
