// Which moment of which VM a snapshot holds, and upon which other snapshot it stands.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "vmm/state/fields.h"

namespace hako::migration {

/// A random number: no other snapshot has it, but one that holds the same moment in full (merge.h).
using SnapshotId = std::array<std::uint8_t, 16>;

[[nodiscard]] SnapshotId new_snapshot_id();

struct Identity {
    SnapshotId id{};

    bool operator==(const Identity&) const = default;
};

/// Of a differential snapshot.
struct Base {
    SnapshotId id{};
    std::string folder;         ///< where it was then
    std::uint32_t changed = 0;  ///< CRC-32C of the file changed-pages

    bool operator==(const Base&) const = default;
};

}  // namespace hako::migration

namespace hako::state {

template <>
struct Fields<migration::Identity> {
    static constexpr auto list = std::tuple(hex("id", &migration::Identity::id));
};

template <>
struct Fields<migration::Base> {
    using T = migration::Base;
    static constexpr auto list =
        std::tuple(hex("id", &T::id), upto(4096, "folder", &T::folder), hex("changed", &T::changed));
};

}  // namespace hako::state
