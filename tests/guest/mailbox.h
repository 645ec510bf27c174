// Where the guest of the restore tests and its host meet in guest memory. Read by both.
#pragma once

#include <cstdint>

namespace guest {

struct Mailbox {
    std::uint64_t rounds;  ///< done by the guest
    std::uint64_t stop;    ///< the host asks for the end, with the number of CPUs
    std::uint64_t timers;  ///< that have fired
};
constexpr std::uint64_t kMailbox = 0x7e00;

inline volatile Mailbox& mailbox() {
    return *reinterpret_cast<volatile Mailbox*>(kMailbox);
}

/// The first byte of a sector on the disk.
constexpr std::uint8_t sector_mark(std::uint64_t sector) {
    return static_cast<std::uint8_t>(sector * 3 + 1);
}

}  // namespace guest
