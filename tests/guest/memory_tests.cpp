// Memory that comes and goes: the guest's side of devices/acpi/memory_hotplug.h, without ACPI's bytecode.
#include "tests.h"

namespace guest {
namespace {

constexpr std::uint16_t kPort = 0x800;
constexpr std::uint16_t kStride = 16;
constexpr unsigned kPieces = 64;
constexpr std::uint64_t kUnit = 128 << 20;
constexpr std::uint32_t kInserted = 1 << 1;
constexpr std::uint32_t kLeaving = 1 << 2;
constexpr std::uint32_t kEject = 1 << 3;
constexpr std::uint32_t kKept = 1 << 4;

bool mapped[kPieces];

volatile std::uint64_t& word_at(std::uint64_t address) {
    return *reinterpret_cast<volatile std::uint64_t*>(address);
}

void say(const char* what, unsigned piece) {
    print("piece ");
    print_hex(piece);
    print(what);
}

/// A piece that has come is zeros; what is written into it stays.
void look_at(unsigned piece, bool keeps) {
    const auto port = static_cast<std::uint16_t>(kPort + piece * kStride);
    const std::uint64_t first = in32(port + 4) * kUnit;
    const std::uint64_t last = first + in32(port + 8) * kUnit - 8;
    const std::uint32_t status = in32(port);
    if ((status & 1) == 0) return;
    if (!mapped[piece]) {
        map(first);
        map(last);
        mapped[piece] = true;
    }
    if ((status & kInserted) != 0) {
        CHECK(word_at(first) == 0);
        CHECK(word_at(last) == 0);
        word_at(first) = first;
        word_at(last) = last;
        out32(port, kInserted);
        say(" has come\n", piece);
    }
    CHECK(word_at(first) == first);
    CHECK(word_at(last) == last);
    if ((status & kLeaving) == 0) return;
    out32(port, kLeaving);
    out32(port, keeps ? kKept : kEject);
    say(keeps ? " is kept\n" : " has gone\n", piece);
}

[[noreturn]] void watch_memory(bool keeps_odd) {
    for (std::uint64_t round = 1;; ++round) {
        answer_memory(keeps_odd);
        say_round(round);
    }
}

}  // namespace

void answer_memory(bool keeps_odd) {
    for (unsigned piece = 0; piece < kPieces; ++piece) {
        const std::uint32_t size = in32(static_cast<std::uint16_t>(kPort + piece * kStride + 8));
        if (size == 0 || size == kNothing) return;
        look_at(piece, keeps_odd && piece % 2 == 1);
    }
}

/// Takes and gives up whatever it is offered and asked for, for ever. Says so, and each round.
void test_memory() {
    watch_memory(false);
}

/// Keeps every other piece.
void test_memory_kept() {
    watch_memory(true);
}

}  // namespace guest
