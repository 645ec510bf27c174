// Postcopy: what makes those wait who touch a page that is still at the source.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "migration/memory/page_bits.h"
#include "migration/protocol/memory_layout.h"
#include "vmm/base/result.h"

namespace hako::migration {

/// Of one VM's memory. put() and put_zeros() on any thread, take() on one at a time, the rest while no other
/// call is under way. Whoever waits when it is destroyed goes on, with zeros where nothing is.
class PageTrap {
  public:
    PageTrap() = default;
    PageTrap(const PageTrap&) = delete;
    PageTrap& operator=(const PageTrap&) = delete;
    virtual ~PageTrap() = default;

    /// Pages that are of no use any more, before arm(): it has the less to take away.
    virtual Result<> remove(const PageBits& stale) = 0;
    /// Before the guest runs. `missing` pages are not there any more, whatever came for them; from now on who
    /// touches a page that is not there waits. That includes pages that never had memory because they are
    /// zeros.
    virtual Result<> arm(const PageBits& missing) = 0;
    /// All has come. Pages without memory are zeros again.
    virtual Result<> disarm() = 0;

    /// Readable while somebody waits that take() has not told of.
    [[nodiscard]] virtual int fd() const = 0;
    /// A page that somebody waits for, or nothing.
    virtual Result<std::optional<PagePlace>> take() = 0;

    /// Gives pages their content, whole ones from `place` on, and wakes who waits for them. A page that is
    /// there stays as it is: the guest may have written it.
    virtual Result<> put(const PagePlace& place, std::span<const std::byte> content) = 0;
    virtual Result<> put_zeros(const PagePlace& place, std::uint64_t pages) = 0;
    /// Who waits for that page looks again.
    virtual void wake(const PagePlace& page) = 0;
};

}  // namespace hako::migration
