// A vCPU's dirty ring, without KVM: the kernel's side is played here.
#include "vmm/kvm/dirty_rings.h"

#include <doctest/doctest.h>

#include <array>
#include <utility>
#include <vector>

using namespace hako;
using kvm::DirtyRing;

namespace {

using Pages = std::vector<std::pair<std::uint32_t, std::uint64_t>>;

struct Kernel {
    std::array<kvm_dirty_gfn, 4> entries{};
    std::size_t next = 0;

    void write(std::uint32_t slot, std::uint64_t page) {
        entries[next++ % entries.size()] = {.flags = KVM_DIRTY_GFN_F_DIRTY, .slot = slot, .offset = page};
    }
    /// KVM_RESET_DIRTY_RINGS: how many were given back.
    std::size_t reset() {
        std::size_t count = 0;
        for (kvm_dirty_gfn& entry : entries) {
            if (entry.flags != KVM_DIRTY_GFN_F_RESET) continue;
            entry.flags = 0;
            ++count;
        }
        return count;
    }
};

Pages take(DirtyRing& ring) {
    Pages pages;
    const std::size_t taken =
        ring.take([&](std::uint32_t slot, std::uint64_t page) { pages.emplace_back(slot, page); });
    CHECK(taken == pages.size());
    return pages;
}

}  // namespace

TEST_CASE("dirty ring: what is there is taken once, in order, round the end") {
    Kernel kernel;
    DirtyRing ring(kernel.entries);
    CHECK(take(ring).empty());
    kernel.write(0, 7);
    kernel.write(1, 8);
    kernel.write(0, 9);
    CHECK(take(ring) == Pages{{0, 7}, {1, 8}, {0, 9}});
    CHECK(take(ring).empty());
    CHECK(kernel.reset() == 3);
    kernel.write(0, 7);
    kernel.write(0, 1);
    CHECK(take(ring) == Pages{{0, 7}, {0, 1}});
    CHECK(kernel.reset() == 2);
}

TEST_CASE("dirty ring: a full one is taken whole, and what was not reset yet is not taken again") {
    Kernel kernel;
    DirtyRing ring(kernel.entries);
    for (std::uint64_t page = 0; page < 4; ++page)
        kernel.write(0, page);
    CHECK(take(ring).size() == 4);
    CHECK(take(ring).empty());
    CHECK(kernel.reset() == 4);
    CHECK(take(ring).empty());
}
