// A snapshot's folder: the names of its files, and what is in the smaller ones.
//
// config.json     what the VM was made from, for people and clients to look at and to change
// memory-ranges   guest memory (memory_file.h); of a differential snapshot: its changed pages, where they
// belong page-checksums  CRC-32C of each page of memory, 32-bit little-endian numbers changed-pages
// differential only: a bit for each page of memory, bit n of byte b being page 8 * b + n state.json written
// last: a folder without it is no snapshot
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "migration/snapshot/identity.h"
#include "migration/snapshot/memory_file.h"
#include "vmm/base/result.h"
#include "vmm/state/fields.h"

namespace hako::migration {

/// What a snapshot says of itself.
struct SnapshotFacts {
    std::uint64_t memory = 0;     ///< bytes of the memory file
    std::uint32_t checksums = 0;  ///< CRC-32C of the checksums' file
    std::uint64_t taken = 0;      ///< CLOCK_REALTIME, nanoseconds: the guest's last instruction
    bool live = false;            ///< the guest ran on; it was not paused by its user

    bool operator==(const SnapshotFacts&) const = default;
};

/// What state.json holds.
struct SavedState {
    SnapshotFacts facts;
    std::optional<SnapshotId> id;  ///< before hako had differential snapshots: none
    std::optional<Base> base;      ///< of a differential snapshot
    std::vector<std::byte> vm;     ///< as SourceMachine::save_state() gave it
};

/// Pages of memory in the order of the memory file: bit n of word w is page 64 * w + n.
using FileBits = std::vector<std::uint64_t>;

[[nodiscard]] std::uint32_t checksum_of(const FileBits& bits);

class SnapshotFolder {
  public:
    /// `path`: of a folder that exists.
    explicit SnapshotFolder(std::string path) : path_(std::move(path)) {}

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] std::string memory_path() const { return path_ + "/memory-ranges"; }

    /// It is a folder, and there is no snapshot in it, not even a part of one.
    Result<> check_empty() const;
    /// Each is on the storage when it returns; state.json last.
    Result<> write_config(const std::string& json) const;
    Result<> write_checksums(const PageChecksums& checksums) const;
    Result<> write_changed(const FileBits& changed) const;
    Result<> write_state(const SavedState& state) const;
    /// Removes whatever there is of a snapshot.
    void remove() const;

    /// Anybody may have written these.
    Result<std::string> read_config() const;
    Result<SavedState> read_state() const;
    Result<PageChecksums> read_checksums(const SnapshotFacts& facts) const;
    /// Of a differential snapshot.
    Result<FileBits> read_changed(const SavedState& state) const;

  private:
    Result<> write_file(const std::string& name, std::span<const std::byte> content) const;
    Result<std::string> read_file(const std::string& name, std::uint64_t max) const;
    template <typename Number>
    Result<std::vector<Number>> read_numbers(std::string_view name, std::uint64_t count,
                                             std::uint32_t checksum) const;

    std::string path_;
};

/// state.json as text, and back.
[[nodiscard]] Result<std::string> to_json(const SavedState& state);
[[nodiscard]] Result<SavedState> saved_state_of(std::string_view json);

}  // namespace hako::migration

namespace hako::state {

template <>
struct Fields<migration::SnapshotFacts> {
    using T = migration::SnapshotFacts;
    static constexpr auto list = std::tuple(field("memory", &T::memory), hex("checksums", &T::checksums),
                                            field("taken", &T::taken), field("live", &T::live));
};

}  // namespace hako::state
