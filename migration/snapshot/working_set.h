// The pages that a guest needed first after it was restored: a file in the snapshot's folder.
//
// working-set   state sections: "working-set" with the snapshot's id, and runs of pages. It is no part of the
//               snapshot: whatever is wrong with it, it counts as not there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "migration/snapshot/identity.h"
#include "vmm/base/result.h"
#include "vmm/state/fields.h"

namespace hako::migration {

/// Pages of the memory file.
struct WorkingRun {
    std::uint64_t first = 0;
    std::uint32_t pages = 0;
    bool written = false;  ///< not only read

    bool operator==(const WorkingRun&) const = default;
};

struct WorkingSet {
    /// More than these are not worth a run each: what is left out comes when it is touched.
    static constexpr std::uint32_t kMaxRuns = 1 << 18;

    SnapshotId id{};
    std::vector<WorkingRun> runs;

    [[nodiscard]] std::uint64_t pages() const;
    bool operator==(const WorkingSet&) const = default;
};

/// Of the snapshot with that id; nothing: there is none, or it is of no use. `pages`: of the memory file.
[[nodiscard]] std::optional<WorkingSet> read_working_set(const std::string& folder, const SnapshotId& id,
                                                         std::uint64_t pages);
/// Anybody may read the folder meanwhile: it is there as a whole, or not.
Result<> write_working_set(const std::string& folder, const WorkingSet& set);

}  // namespace hako::migration

namespace hako::state {

template <>
struct Fields<migration::WorkingRun> {
    using T = migration::WorkingRun;
    static constexpr auto list =
        std::tuple(field("first", &T::first), field("pages", &T::pages), field("written", &T::written));
};

template <>
struct Fields<migration::WorkingSet> {
    using T = migration::WorkingSet;
    static constexpr auto list = std::tuple(hex("id", &T::id), upto(T::kMaxRuns, "runs", &T::runs));
};

}  // namespace hako::state
