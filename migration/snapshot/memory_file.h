// Guest memory as a sparse file: a page of the guest lies where it lies in the guest's memory file.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/base/sparse_array.h"

namespace hako::migration {

/// CRC-32C of each 4 KiB page, in the file's order; of a page that nobody wrote: that of zeros.
using PageChecksums = std::vector<std::uint32_t>;

[[nodiscard]] std::uint32_t zero_page_checksum();

/// Writes guest memory that may change meanwhile: each page is copied out once, and what was copied is what
/// its checksum is of. Many writes are under way at a time. One thread.
class MemoryWriter {
  public:
    /// Bytes of guest memory that are copied and written as one piece, at most.
    static constexpr std::uint64_t kChunk = MiB;

    /// Makes the file, which must not be there yet. `base`: checksums of the pages that are not written, if
    /// they are not zeros but stay as they are elsewhere.
    static Result<std::unique_ptr<MemoryWriter>> create(const std::string& path, std::uint64_t size,
                                                        PageChecksums base = {});
    MemoryWriter(const MemoryWriter&) = delete;
    MemoryWriter& operator=(const MemoryWriter&) = delete;
    ~MemoryWriter();

    /// Copies whole pages, at most kChunk bytes, and writes them to where they belong. Pages of zeros are
    /// left out as long as nothing was written there. May wait for earlier writes, and tell of their errors.
    Result<> write(std::span<const std::byte> pages, std::uint64_t file_offset);
    /// Waits for all writes so far. Before a page is written again: writes under way have no order.
    Result<> drain();
    /// Returns when all of it is in the file, and safe from a power cut.
    Result<> finish();

    [[nodiscard]] const PageChecksums& checksums() const { return checksums_; }
    [[nodiscard]] std::uint64_t bytes_written() const { return bytes_written_; }

  private:
    struct Buffer {
        std::byte* data = nullptr;
        unsigned writes = 0;  ///< under way
    };
    struct Write {
        std::uint64_t offset = 0;
        std::uint32_t length = 0;
        Buffer* buffer = nullptr;
        const std::byte* data = nullptr;
    };

    MemoryWriter(std::string path, Fd file, std::uint64_t size, PageChecksums base);
    Result<Buffer*> free_buffer();
    void submit(Buffer& buffer, std::uint64_t from, std::uint64_t length, std::uint64_t offset);
    void prepare(std::uint32_t slot);
    Result<> reap(bool wait);

    std::string path_;
    Fd file_;
    io_uring ring_{};
    bool ring_up_ = false;
    SparseArray<std::byte> memory_;  ///< of all buffers
    std::vector<Buffer> buffers_;
    std::vector<Write> writes_;
    std::vector<std::uint32_t> free_writes_;
    const std::uint32_t zero_checksum_ = zero_page_checksum();
    std::vector<bool> written_;  ///< pages that the file has
    PageChecksums checksums_;
    std::uint64_t bytes_written_ = 0;
};

}  // namespace hako::migration
