// An image that is in use, read by whoever copies it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::migration {

/// An image at the source.
struct SourceDisk {
    Fd image;                 ///< open for reading, O_DIRECT where the file system has it
    std::uint64_t bytes = 0;  ///< as the destination was told
};

/// Takes an image that was opened for it: its data shall not go through the page cache, where they would be
/// in the guest's way.
[[nodiscard]] SourceDisk source_disk(Fd image, std::uint64_t bytes);

/// Reads blocks into a buffer of its own. One thread; several may read one image.
class ImageReader {
  public:
    ImageReader();

    /// The first block in [from, end) that may hold data, or `end`.
    [[nodiscard]] static std::uint64_t next_data(const SourceDisk& disk, std::uint64_t from,
                                                 std::uint64_t end);
    /// The first block in [from, end) that is a hole, all of it, or `end`.
    [[nodiscard]] static std::uint64_t next_hole(const SourceDisk& disk, std::uint64_t from,
                                                 std::uint64_t end);
    /// At most kMaxFrameBlocks blocks, less what is beyond the disk's end. Valid until the next call.
    Result<std::span<std::byte>> read(const SourceDisk& disk, std::uint64_t first, std::uint64_t blocks);

  private:
    struct Free {
        void operator()(std::byte* memory) const;
    };
    std::unique_ptr<std::byte[], Free> buffer_;  ///< aligned to pages
};

}  // namespace hako::migration
