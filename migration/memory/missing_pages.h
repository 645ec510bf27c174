// Postcopy, destination: which pages are still missing, who waits for one, and for how long.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "migration/memory/latencies.h"
#include "migration/memory/memory_view.h"
#include "migration/memory/page_bits.h"
#include "migration/memory/page_trap.h"

namespace hako::migration {

/// Any thread; take_fault() on one at a time.
class MissingPages {
  public:
    /// `trap` is armed with `missing`.
    MissingPages(PageTrap& trap, PageBits missing)
        : trap_(trap), missing_(std::move(missing)), left_(count_bits(missing_)) {}

    /// A page that is missing and that somebody waits for who did not yet; nothing: nobody does for now. Who
    /// waits for one that is only zeros has it by then.
    Result<std::optional<PagePlace>> take_fault();
    /// All that somebody waits for, asked for already or not.
    [[nodiscard]] std::vector<PagePlace> waited_for() const;

    /// How long the one waits who has waited longest; 0: nobody does.
    [[nodiscard]] std::chrono::nanoseconds longest_wait() const;

    /// Are all of these still missing?
    [[nodiscard]] bool missing(const PagePlace& place, std::uint64_t pages) const;
    /// Puts them in their place. `content`: of all pages, or empty for zeros.
    Result<> put(const PagePlace& place, std::uint64_t pages, std::span<const std::byte> content);

    [[nodiscard]] PageBits bits() const;
    [[nodiscard]] std::uint64_t left() const;
    /// From a fault until its page was there.
    [[nodiscard]] Latencies latencies() const;

  private:
    using Clock = std::chrono::steady_clock;
    [[nodiscard]] bool is_missing(const PagePlace& page) const {
        return (missing_[page.region][page.first / 64] >> page.first % 64 & 1) != 0;
    }

    PageTrap& trap_;
    mutable std::mutex mutex_;
    PageBits missing_;
    std::uint64_t left_;
    /// Since when somebody waits for a page: no more of them than the process has threads.
    std::map<std::pair<std::size_t, std::uint64_t>, Clock::time_point> waited_for_;
    Latencies latencies_;
};

}  // namespace hako::migration
