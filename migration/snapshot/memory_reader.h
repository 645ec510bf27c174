// From a snapshot's memory file into guest memory.
#pragma once

#include "migration/snapshot/extents.h"
#include "migration/snapshot/memory_file.h"
#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::migration {

/// What guest memory has where nothing was copied yet.
enum class Before { kZeros, kOlderPages };

/// Copies those pages of the file that are set in `pages` into `memory`, and holds each against its checksum.
Result<> read_memory(const MemoryFile& file, const FileBits& pages, const PageChecksums& checksums,
                     GuestMemory& memory, Before before = Before::kZeros);

/// Bits of all pages of a file of `bytes` bytes.
[[nodiscard]] FileBits all_pages(std::uint64_t bytes);

/// Finds pages that do not have their checksums.
class PageCheck {
  public:
    PageCheck(const MemoryFile& file, const PageChecksums& checksums) : file_(file), checksums_(checksums) {}

    /// What was read at `offset`: whole pages.
    [[nodiscard]] Result<> data(std::span<const std::byte> pages, std::uint64_t offset) const;
    /// A hole is zeros.
    [[nodiscard]] Result<> hole(std::uint64_t offset, std::uint64_t length) const;

  private:
    [[nodiscard]] std::unexpected<Error> wrong(std::uint64_t offset) const;

    const MemoryFile& file_;
    const PageChecksums& checksums_;
    const std::uint32_t zero_ = zero_page_checksum();
};

}  // namespace hako::migration
