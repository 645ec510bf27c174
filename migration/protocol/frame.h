// The frames of the migration stream: a fixed header, then `length` bytes of payload. docs/migration.md has
// the list.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "vmm/base/result.h"
#include "vmm/base/units.h"

namespace hako::migration {

enum class Type : std::uint16_t {
    kHello = 1,
    kAccept = 2,
    kRefuse = 3,
    kFd = 4,
    kJoin = 5,
    kJoined = 6,
    kPing = 7,
    kPages = 8,
    kRound = 9,
    kRoundDone = 10,
    kState = 11,
    kReady = 12,
    kLocksReleased = 13,
    kLocked = 14,
    kGo = 15,
    kRunning = 16,
    kAbort = 17,
    kPageRequest = 18,  ///< postcopy
    kMissing = 19,      ///< postcopy
    kRecover = 20,      ///< postcopy
};

/// "PAGES" and the like; "unknown" for a number that is none.
[[nodiscard]] std::string_view type_name(Type type);

inline constexpr std::uint32_t kMagic = 0x474d4b48;  ///< "HKMG"
inline constexpr std::size_t kHeaderBytes = 16;

/// Flag of PAGES: the pages are one Zstandard frame. Reserved: no version of the protocol sends it yet.
inline constexpr std::uint16_t kFlagCompressed = 1;

struct Header {
    Type type = Type::kAbort;
    std::uint16_t flags = 0;
    std::uint32_t length = 0;  ///< bytes of payload; the pages after PAGES are not in it
    std::uint32_t crc = 0;     ///< CRC-32C of the header's first 12 bytes and the payload

    bool operator==(const Header&) const = default;
};

/// The longest payload of a type: nothing longer is read or sent.
[[nodiscard]] std::uint32_t max_payload(Type type);

/// A header's bytes, its CRC made here.
[[nodiscard]] std::array<std::byte, kHeaderBytes> encode_header(Type type, std::uint16_t flags,
                                                                std::span<const std::byte> payload);
/// Checks magic, type, flags and length, so that `length` bytes may be read.
[[nodiscard]] Result<Header> decode_header(std::span<const std::byte, kHeaderBytes> bytes);
/// Is this the payload that was sent with that header?
[[nodiscard]] Result<> check_crc(std::span<const std::byte, kHeaderBytes> header,
                                 std::span<const std::byte> payload);

}  // namespace hako::migration
