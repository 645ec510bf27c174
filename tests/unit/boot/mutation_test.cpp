// Damaged kernels by the thousand: whatever a loader answers, it must not crash (run this with the
// sanitizers).
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <random>

#include "loading.h"

using namespace hako;
using namespace hako::testing;

namespace {

constexpr int kMutations = 10'000;

/// Loads `image` again and again with a few bytes of its first `header` bytes changed, the same ones in each
/// run.
void load_mutations(const Bytes& image, std::size_t header) {
    Loading loading;
    loading.kernel(image).initrd(kPageSize).command_line("quiet");
    REQUIRE(loading.load());
    // One file, patched in place: making files anew takes longer than loading them.
    const Fd file(::open(loading.payload().kernel.c_str(), O_RDWR | O_CLOEXEC));
    REQUIRE(file.valid());
    std::mt19937 random(1);
    int loaded = 0;
    for (int i = 0; i < kMutations; ++i) {
        Bytes damaged(image.begin(), image.begin() + static_cast<std::ptrdiff_t>(header));
        const auto changes = 1 + random() % 4;
        for (unsigned change = 0; change < changes; ++change) {
            const std::size_t at = random() % header;
            constexpr std::byte kExtremes[] = {std::byte{0}, std::byte{0xff}, std::byte{0x80},
                                               std::byte{0x7f}};
            damaged[at] = random() % 2 == 0
                              ? kExtremes[random() % 4]
                              : damaged[at] ^ std::byte{static_cast<std::uint8_t>(1u << random() % 8)};
        }
        REQUIRE(::pwrite(file.get(), damaged.data(), header, 0) == static_cast<ssize_t>(header));
        const auto result = loading.load();
        loaded += result.has_value() ? 1 : 0;
        if (!result) REQUIRE(result.error().fault() == Fault::kInput);
    }
    // Some damage does no harm, some does: else the loop tests nothing.
    CHECK(loaded > 0);
    CHECK(loaded < kMutations);
}

}  // namespace

TEST_CASE("no damage to a bzImage's header crashes the loader") {
    load_mutations(bzimage(), 0x270);
}
TEST_CASE("no damage to an ELF64's headers and notes crashes the loader") {
    load_mutations(Elf64Image().build(), kElfNoteOffset + kElfNoteSize);
}
TEST_CASE("no damage to an ELF32's headers and notes crashes the loader") {
    load_mutations(Elf32Image().build(), kElfNoteOffset + kElfNoteSize);
}
