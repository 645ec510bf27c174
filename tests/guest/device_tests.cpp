// PCI and the block device, driven the way a driver does.
#include "balloon.h"
#include "tests.h"
#include "virtio.h"

namespace guest {
namespace {

constexpr std::uint32_t kSector = 512;

alignas(4096) Rings rings;
alignas(4096) std::uint8_t buffer[32][4096];
constinit BlockQueue queue(rings);

std::uint8_t pattern(std::uint64_t sector, std::uint32_t offset) {
    return static_cast<std::uint8_t>(sector * 31 + offset * 7 + 1);
}

void wait_for(std::uint8_t vector) {
    while (!arrived(vector))
        asm volatile("pause");
}

}  // namespace

void test_pci() {
    CHECK(pci_read32(0, 0) != 0xffffffff);  // the host bridge
    for (std::uint8_t slot = 0; slot < 32; ++slot)
        CHECK(pci_read32(slot, 0) == pci_port_read32(slot, 0));
    CHECK(pci_read32(31, 0) == 0xffffffff);

    VirtioPci disk = find_device(kBlockDevice);
    const auto slot = static_cast<std::uint16_t>(pci_find(0x1af4, 0x1042));
    // BAR sizing gives a power of two.
    const std::uint32_t old = pci_read32(slot, 0x10);
    pci_write32(slot, 0x10, 0xffffffff);
    const std::uint32_t mask = pci_read32(slot, 0x10) & ~15u;
    pci_write32(slot, 0x10, old);
    CHECK(mask != 0 && ((~mask + 1) & ~mask) == 0);

    CHECK((disk.offered() & kVersion1) != 0);
    disk.move_bar(0xc8000000);
    CHECK((disk.offered() & kVersion1) != 0);
    disk.negotiate(kVersion1);
    disk.reset();
}

void test_segments() {
    // Two segments, a disk in each: what is in which, then requests to the one in the second.
    constexpr std::uint32_t kDisk = 0x10421af4;
    CHECK(pci_read32(0, 0) == 0x00081b36);
    CHECK(pci_read32(32, 0) == 0x00081b36);
    CHECK(pci_read32(1, 0) == kDisk);
    CHECK(pci_read32(33, 0) == kDisk);
    CHECK(pci_read32(34, 0) == 0xffffffff);
    const std::uint64_t near = pci_read32(1, 0x14);
    const std::uint64_t far = pci_read32(33, 0x14);
    CHECK(near == 0x10 && far == 0x18);  // 64 GiB, and half of 64 GiB further
    for (std::uint16_t slot = 0; slot < 32 * kPciSegments; ++slot)
        if (pci_read32(slot, 0) != 0xffffffff) {
            print("slot ");
            print_hex(slot);
            print(" ");
            print_hex(pci_read32(slot, 0));
            print("\n");
        }
    // The first one's memory decoding off: the second one's stays.
    pci_write32(1, 4, 0);
    VirtioPci disk(33);
    CHECK(pci_find(0x1af4, 0x1042, 1) == 33);
    disk.reset();
    print("reached\n");
}

void test_block() {
    VirtioPci disk = start_disk(rings, kFlushFeature);
    const std::uint64_t sectors = mmio_read<std::uint32_t>(disk.device_config());
    CHECK(sectors >= 64);

    for (std::uint32_t i = 0; i < 64; ++i)
        buffer[0][i] = pattern(3, i);
    queue.submit(0, BlockQueue::kOut, 3, buffer[0], kSector);
    disk.notify();
    queue.wait(1);
    CHECK(queue.status_of(0) == 0);
    wait_for(kQueueInterrupt);

    queue.submit(0, BlockQueue::kFlush, 0, nullptr, 0);
    queue.submit(1, BlockQueue::kIn, 3, buffer[1], kSector);
    queue.submit(2, BlockQueue::kIn, sectors, buffer[2], kSector);  // beyond the end
    queue.submit(3, 0x77, 0, buffer[3], kSector);                   // no such request
    queue.submit(4, BlockQueue::kGetId, 0, buffer[4], 20);
    disk.notify();
    queue.wait(5);
    CHECK(queue.status_of(0) == 0);
    CHECK(queue.status_of(1) == 0);
    CHECK(queue.status_of(2) == 1);
    CHECK(queue.status_of(3) == 2);
    CHECK(queue.status_of(4) == 0);
    for (std::uint32_t i = 0; i < 64; ++i)
        CHECK(buffer[1][i] == pattern(3, i));
    print("serial ");
    buffer[4][20] = 0;
    print(reinterpret_cast<const char*>(buffer[4]));
    print("\n");
}

void test_block_depth() {
    VirtioPci disk = start_disk(rings, kFlushFeature);
    // 32 requests at once, several times over: slots are reused, rings wrap.
    for (std::uint32_t round = 0; round < 16; ++round) {
        for (std::uint32_t slot = 0; slot < 32; ++slot) {
            const std::uint64_t sector = (std::uint64_t{slot} * 7 + round * 5) % 256 * 8;
            queue.submit(slot, BlockQueue::kIn, sector, buffer[slot], 4096);
        }
        disk.notify();
        queue.wait(32);
        for (std::uint32_t slot = 0; slot < 32; ++slot)
            CHECK(queue.status_of(slot) == 0);
    }
}

void test_reboot_once() {
    // The disk remembers what memory does not: the first life marks it and resets, the second finds the mark.
    VirtioPci disk = start_disk(rings, kFlushFeature);
    constexpr std::uint8_t kMark = 0xa5;
    queue.submit(0, BlockQueue::kIn, 0, buffer[0], kSector);
    disk.notify();
    queue.wait(1);
    CHECK(queue.status_of(0) == 0);
    if (buffer[0][0] == kMark) return;
    buffer[0][0] = kMark;
    queue.submit(1, BlockQueue::kOut, 0, buffer[0], kSector);
    disk.notify();
    queue.wait(1);
    CHECK(queue.status_of(1) == 0);
    print("rebooting\n");
    test_reset();
}

void test_hostile_queue() {
    VirtioPci disk = start_disk(rings, kFlushFeature);
    queue.submit(0, BlockQueue::kIn, 0, buffer[0], kSector);
    rings.descriptors[1].next = 0;  // a loop
    disk.notify();
    wait_for(kConfigInterrupt);
    CHECK((disk.status() & 64) != 0);  // DEVICE_NEEDS_RESET

    // After a reset the device works again.
    disk.negotiate(kVersion1);
    disk.set_up(rings, kQueueInterrupt, kConfigInterrupt);
    disk.driver_ok();
    static constinit BlockQueue fresh(rings);
    fresh.submit(0, BlockQueue::kIn, 0, buffer[0], kSector);
    disk.notify();
    fresh.wait(1);
    CHECK(fresh.status_of(0) == 0);

    // A queue outside memory is refused at DRIVER_OK.
    disk.negotiate(kVersion1);
    disk.set_up(*reinterpret_cast<Rings*>(buffer), kQueueInterrupt, kConfigInterrupt);
    CHECK((disk.status() & 64) == 0);
    mmio_write<std::uint16_t>(disk.common() + 0x16, 0);
    mmio_write<std::uint32_t>(disk.common() + 0x20, 0x1000);  // a live queue is not to be moved
    disk.driver_ok();
    CHECK((disk.status() & 64) != 0);
    disk.reset();
}

/// Follows the size that the host wants. Ends when that is one page.
void test_balloon() {
    const int slot = pci_find(0x1af4, 0x1045);
    CHECK(slot > 0);
    enable_apic();
    Balloon balloon(slot);
    print("ready\n");
    for (;;) {
        const std::uint32_t wanted = balloon.wanted();
        if (wanted == 1) return;
        if (wanted == balloon.actual()) continue;
        balloon.resize(wanted);
        print("done\n");
    }
}

}  // namespace guest
