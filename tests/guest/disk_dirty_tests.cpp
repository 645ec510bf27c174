// A disk that is written for ever: whatever takes a copy of it must take all of one moment.
#include "tests.h"
#include "virtio.h"

namespace guest {
namespace {

constexpr std::uint32_t kBytes = 4096;
constexpr std::uint32_t kDepth = 32;
constexpr std::uint32_t kPlaces = 256;
/// Sectors from one place to the next: the places are 8 MiB.
constexpr std::uint64_t kStride = 64;

alignas(4096) Rings rings;
alignas(4096) std::uint64_t buffer[kDepth][kBytes / 8];
constinit BlockQueue queue(rings);

void transfer(VirtioPci& disk, std::uint32_t type, std::uint32_t first) {
    for (std::uint32_t slot = 0; slot < kDepth; ++slot)
        queue.submit(slot, type, (first + slot) * kStride, buffer[slot], kBytes);
    disk.notify();
    queue.wait(kDepth);
    for (std::uint32_t slot = 0; slot < kDepth; ++slot)
        CHECK(queue.status_of(slot) == 0);
}

}  // namespace

/// Counts in one place after the other, and checks what it counted a round ago. Says each round.
void test_disk_dirty() {
    VirtioPci disk = start_disk(rings);
    for (std::uint64_t round = 1;; ++round) {
        for (std::uint32_t first = 0; first < kPlaces; first += kDepth) {
            transfer(disk, BlockQueue::kIn, first);
            for (std::uint32_t slot = 0; slot < kDepth; ++slot) {
                const std::uint64_t before = round == 1 ? 0 : first + slot + round - 1;
                for (std::uint32_t word = 0; word < kBytes / 8; word += 63) {
                    CHECK(round == 1 || buffer[slot][word] == before);
                    buffer[slot][word] = first + slot + round;
                }
            }
            transfer(disk, BlockQueue::kOut, first);
        }
        print("round ");
        print_hex(round);
        print("\n");
    }
}

}  // namespace guest
