// A journal of which each record is safe before the guest says so: what it said must be on the disk, whatever
// becomes of its host.
#include "tests.h"
#include "virtio.h"

namespace guest {
namespace {

constexpr std::uint32_t kBytes = 512;
/// Sectors; then it begins again.
constexpr std::uint64_t kRecords = 8192;

alignas(4096) Rings rings;
alignas(4096) std::uint64_t record[kBytes / 8];
constinit BlockQueue queue(rings);

void carry_out(VirtioPci& disk, std::uint32_t type, std::uint64_t sector, std::uint32_t bytes) {
    queue.submit(0, type, sector, record, bytes);
    disk.notify();
    queue.wait(1);
    CHECK(queue.status_of(0) == 0);
}

}  // namespace

/// Record n, from 1 on, is n in all words of sector (n - 1) % 8192.
void test_journal() {
    VirtioPci disk = start_disk(rings, kFlushFeature);
    for (std::uint64_t number = 1;; ++number) {
        for (std::uint64_t& word : record)
            word = number;
        carry_out(disk, BlockQueue::kOut, (number - 1) % kRecords, kBytes);
        carry_out(disk, BlockQueue::kFlush, 0, 0);
        print("acknowledged ");
        print_hex(number);
        print("\n");
    }
}

}  // namespace guest
