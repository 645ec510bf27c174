// What the frames carry. Each is a plain struct; encode() and decode() are all that know its bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "migration/protocol/bytes.h"
#include "migration/protocol/frame.h"
#include "migration/protocol/memory_layout.h"
#include "vmm/base/result.h"

namespace hako::migration {

/// The versions this hako speaks. A new one is spoken only when both know it.
inline constexpr std::uint16_t kOldestVersion = 1;
inline constexpr std::uint16_t kNewestVersion = 1;

inline constexpr std::uint32_t kMaxConfig = 1 * MiB;
inline constexpr std::uint32_t kMaxCpu = 1 * MiB;
inline constexpr std::uint32_t kMaxState = 64 * MiB;
inline constexpr std::uint32_t kMaxCauses = 16;
inline constexpr std::uint32_t kMaxCause = 1 * KiB;
inline constexpr std::uint32_t kMaxName = 255;
inline constexpr std::uint16_t kMaxConnections = 64;
inline constexpr std::uint16_t kMaxFds = 128;

inline constexpr std::uint32_t kMaxRuns = 256;           ///< in one PAGES
inline constexpr std::uint32_t kRunBytes = 16;           ///< of one run in PAGES
inline constexpr std::uint32_t kMaxFramePages = 1024;    ///< whose content follows one PAGES: 4 MiB
inline constexpr std::uint32_t kMaxMissingWords = 1024;  ///< in one MISSING: 64 Ki pages

using Uuid = std::array<std::byte, 16>;
using Token = std::array<std::byte, 16>;

/// CLOCK_REALTIME in nanoseconds. 0: not known.
using Stamp = std::uint64_t;

/// Source, first frame: who comes, and all that can be refused.
struct Hello {
    static constexpr Type kType = Type::kHello;
    std::uint16_t oldest = kOldestVersion;  ///< versions of the protocol it speaks
    std::uint16_t newest = kNewestVersion;
    Uuid uuid{};              ///< of the VM
    std::uint64_t epoch = 0;  ///< that begins with this migration
    std::uint16_t connections = 1;
    std::uint16_t fds = 0;  ///< that follow, each in a FD; memory among them: no pages will
    bool postcopy = false;  ///< pages may still be missing when the guest runs there
    MemoryLayout layout;
    Blob config;  ///< opaque here: what the destination builds the VM from
    Blob cpu;     ///< opaque here: what its CPUs must be able to do

    bool operator==(const Hello&) const = default;
};

/// Destination: everything is built that needs no state.
struct Accept {
    static constexpr Type kType = Type::kAccept;
    std::uint16_t version = kNewestVersion;
    Token token{};                      ///< data connections present it
    std::uint64_t restore_cost_ns = 0;  ///< what it will take to load a state and run

    bool operator==(const Accept&) const = default;
};

/// Destination: it will not, and why; nothing has happened to the guest.
struct Refuse {
    static constexpr Type kType = Type::kRefuse;
    std::vector<std::string> causes;  ///< outermost first

    bool operator==(const Refuse&) const = default;
};

/// Source, local: one descriptor comes with the frame's first byte.
struct FdName {
    static constexpr Type kType = Type::kFd;
    std::string name;  ///< "memory", "disk:ID", "net:ID:0"

    bool operator==(const FdName&) const = default;
};

/// First frame of a data connection.
struct Join {
    static constexpr Type kType = Type::kJoin;
    Token token{};
    std::uint16_t index = 0;

    bool operator==(const Join&) const = default;
};
struct Joined {
    static constexpr Type kType = Type::kJoined;
    bool operator==(const Joined&) const = default;
};

/// Source, when it has nothing else to say on the control connection: it is alive.
struct Ping {
    static constexpr Type kType = Type::kPing;
    bool operator==(const Ping&) const = default;
};

/// Pages in a row. Their content follows PAGES unless they are zero, run after run.
struct Run {
    std::uint64_t address = 0;  ///< guest-physical, bytes
    std::uint32_t pages = 0;
    bool zero = false;

    bool operator==(const Run&) const = default;
};
struct Pages {
    static constexpr Type kType = Type::kPages;
    std::vector<Run> runs;

    bool operator==(const Pages&) const = default;
};

/// Ends a round on one data connection: what was sent on it in that round.
struct Round {
    static constexpr Type kType = Type::kRound;
    std::uint32_t round = 0;
    bool last = false;
    std::uint64_t pages = 0;  ///< with their content
    std::uint64_t zero_pages = 0;

    bool operator==(const Round&) const = default;
};
/// Destination: that round is in memory, of all connections.
struct RoundDone {
    static constexpr Type kType = Type::kRoundDone;
    std::uint32_t round = 0;
    std::uint64_t pages = 0;  ///< of all connections, zero ones too

    bool operator==(const RoundDone&) const = default;
};

/// Source: the state of vCPUs and devices, opaque here.
struct State {
    static constexpr Type kType = Type::kState;
    Blob state;

    bool operator==(const State&) const = default;
};

/// Destination: it holds a whole VM, not running, without the disks' locks.
struct Ready {
    static constexpr Type kType = Type::kReady;
    std::uint32_t state_crc = 0;
    std::uint64_t pages_received = 0;  ///< different ones
    std::uint64_t load_ns = 0;

    bool operator==(const Ready&) const = default;
};

struct LocksReleased {
    static constexpr Type kType = Type::kLocksReleased;
    bool operator==(const LocksReleased&) const = default;
};
/// Destination: it holds the locks. The stamps make out how far the clocks are apart.
struct Locked {
    static constexpr Type kType = Type::kLocked;
    Stamp received = 0;  ///< when LOCKS_RELEASED came
    Stamp sent = 0;

    bool operator==(const Locked&) const = default;
};

/// Source: the VM is yours. Its first byte is the commit point.
struct Go {
    static constexpr Type kType = Type::kGo;
    std::uint64_t epoch = 0;
    Stamp paused = 0;               ///< the source's clock: its last guest instruction
    std::uint64_t clock_ahead = 0;  ///< destination's clock less the source's, two's complement, ns
    std::uint64_t round_trip_ns = 0;

    bool operator==(const Go&) const = default;
};

/// Destination: the guest runs.
struct Running {
    static constexpr Type kType = Type::kRunning;
    Stamp first_instruction = 0;  ///< the destination's clock

    bool operator==(const Running&) const = default;
};

/// Either: it is over, and why.
struct Abort {
    static constexpr Type kType = Type::kAbort;
    std::vector<std::string> causes;

    bool operator==(const Abort&) const = default;
};

/// Postcopy: pages that are not at the destination. From the source before the last ROUND, from the
/// destination after RECOVER; what is in none of these frames is there.
struct Missing {
    static constexpr Type kType = Type::kMissing;
    std::uint32_t region = 0;          ///< of HELLO's layout
    std::uint64_t first = 0;           ///< page of the region, a multiple of 64
    std::vector<std::uint64_t> words;  ///< bit n of word w: page first + 64 * w + n

    bool operator==(const Missing&) const = default;
};

/// Source, postcopy, first frame after the connection broke: it still has the pages.
struct Recover {
    static constexpr Type kType = Type::kRecover;
    Uuid uuid{};
    std::uint64_t epoch = 0;
    Token token{};  ///< of the first ACCEPT
    std::uint16_t connections = 1;

    bool operator==(const Recover&) const = default;
};

/// Destination, postcopy: somebody waits for these pages.
struct PageRequest {
    static constexpr Type kType = Type::kPageRequest;
    std::uint64_t address = 0;
    std::uint32_t pages = 0;

    bool operator==(const PageRequest&) const = default;
};

/// A message's payload. Causes and names that are too long are cut.
template <typename Message>
[[nodiscard]] Blob encode(const Message& message);
/// A message from anybody's payload: all lengths and counts are checked before anything is allocated.
template <typename Message>
[[nodiscard]] Result<Message> decode(std::span<const std::byte> payload);

}  // namespace hako::migration
