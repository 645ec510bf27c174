// What the kernel says of this process's own pages. (Linux Documentation/admin-guide/mm/pagemap.rst)
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako {

/// One page, as it is at that moment.
struct PageEntry {
    std::uint64_t bits = 0;

    /// It is in memory and in the page table: somebody touched it, or a neighbour.
    [[nodiscard]] bool present() const { return (bits >> 63 & 1) != 0; }
    /// Of a private mapping of a file: it is not the file's any more, since it was written.
    [[nodiscard]] bool own() const { return (present() || (bits >> 62 & 1) != 0) && (bits >> 61 & 1) == 0; }
};

class Pagemap {
  public:
    static Result<Pagemap> open();
    /// Fills `entries`: of the pages from `address` on.
    Result<> read(const std::byte* address, std::span<PageEntry> entries) const;

  private:
    explicit Pagemap(Fd fd) : fd_(std::move(fd)) {}

    Fd fd_;
};

}  // namespace hako
