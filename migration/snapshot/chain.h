// A snapshot with all that it is based on: a full one, and those that follow it one by one.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "migration/snapshot/extents.h"
#include "migration/snapshot/folder.h"
#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::migration {

/// One snapshot of it.
struct Layer {
    SnapshotFolder folder;
    SavedState state;
    MemoryFile file;
    FileBits pages;  ///< that lie here, and not in a newer one
};

/// Anybody may have written its files: what does not belong together is refused.
class Chain {
  public:
    static constexpr std::size_t kMaxLayers = 256;

    /// The snapshot in `folder`, and where it says that its base was.
    static Result<Chain> open(const std::string& folder);
    /// A full one and those that follow it, wherever they are now.
    static Result<Chain> of(std::span<const std::string> folders);

    /// Oldest first.
    [[nodiscard]] std::span<const Layer> layers() const { return layers_; }
    [[nodiscard]] std::span<Layer> layers() { return layers_; }
    /// The snapshot that it is all about.
    [[nodiscard]] const Layer& top() const { return layers_.back(); }
    /// Bytes of the files that are data, and not holes.
    [[nodiscard]] std::uint64_t data_bytes() const;
    [[nodiscard]] bool full() const { return layers_.size() == 1; }

    /// Fills `memory`, and holds each page against its checksum.
    Result<> read(GuestMemory& memory) const;
    /// Memory that begins as the oldest file is, pages of newer ones copied over it and held against their
    /// checksums. Takes that file.
    Result<GuestMemory> map(const MemoryConfig& config) &&;

  private:
    explicit Chain(std::vector<Layer> layers) : layers_(std::move(layers)) {}
    static Result<Chain> join(std::vector<Layer> newest_first);

    std::vector<Layer> layers_;
};

}  // namespace hako::migration
