// Who ran the VM last: a small file on the disks' own storage, so that whoever holds their locks can tell.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "migration/protocol/messages.h"
#include "vmm/base/result.h"

namespace hako::migration {

/// Each migration begins an epoch. Its destination writes this before its first KVM_RUN, holding the disks'
/// locks.
struct EpochRecord {
    std::uint64_t epoch = 0;
    Uuid vm{};
    bool withdrawn = false;  ///< the one who wrote it did not run after all, and never will
    std::string who;         ///< for people: host and process, at most 255 bytes

    bool operator==(const EpochRecord&) const = default;
};

/// "<image>.hako-epoch"
[[nodiscard]] std::string epoch_record_path(const std::string& image);
/// Nothing: there is no file. A file that is no whole record is an error: then nobody can tell.
Result<std::optional<EpochRecord>> read_epoch_record(const std::string& path);
/// Replaces the record; it is on the storage when this returns (fdatasync).
Result<> write_epoch_record(const std::string& path, const EpochRecord& record);

/// May a destination that was told GO for `epoch` run? Holds the disks' locks. An old GO may not.
Result<> may_start(const std::optional<EpochRecord>& found, const Uuid& vm, std::uint64_t epoch);

/// What a source that handed over `epoch`, and got the disks' locks back, is to do.
enum class Reclaim {
    kResume,  ///< the destination never ran and, without the locks, never will
    kLost,    ///< the destination has run: the memory here is of the past
};
/// An error: nobody can tell, since the record is another VM's.
Result<Reclaim> decide_reclaim(const std::optional<EpochRecord>& found, const Uuid& vm, std::uint64_t epoch);

}  // namespace hako::migration
