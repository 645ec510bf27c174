#include "migration/memory/missing_pages.h"

#include <algorithm>

namespace hako::migration {
namespace {

/// Waits for zeros that are ended in one go.
constexpr std::size_t kMaxZeros = 64;

}  // namespace

Result<std::optional<PagePlace>> MissingPages::take_fault() {
    for (std::size_t count = 0; count < kMaxZeros; ++count) {
        const std::optional<PagePlace> page = HAKO_TRY(trap_.take());
        if (!page) break;
        {
            const std::lock_guard lock(mutex_);
            if (is_missing(*page)) {
                if (waited_for_.try_emplace({page->region, page->first}, Clock::now()).second) return page;
                continue;  // a second one who waits for it is woken with the first
            }
        }
        // Not missing, and yet not there: zeros. Unless it has come meanwhile; then it stays as it is.
        HAKO_TRY(trap_.put_zeros(*page, 1));
        trap_.wake(*page);
    }
    return std::nullopt;
}

std::vector<PagePlace> MissingPages::waited_for() const {
    const std::lock_guard lock(mutex_);
    std::vector<PagePlace> pages;
    for (const auto& [page, since] : waited_for_)
        pages.push_back({.region = page.first, .first = page.second});
    return pages;
}

std::chrono::nanoseconds MissingPages::longest_wait() const {
    const std::lock_guard lock(mutex_);
    const Clock::time_point now = Clock::now();
    std::chrono::nanoseconds longest{0};
    for (const auto& [page, since] : waited_for_)
        longest = std::max<std::chrono::nanoseconds>(longest, now - since);
    return longest;
}

bool MissingPages::missing(const PagePlace& place, std::uint64_t pages) const {
    const std::lock_guard lock(mutex_);
    for (std::uint64_t page = place.first; page < place.first + pages; ++page)
        if (!is_missing({.region = place.region, .first = page})) return false;
    return true;
}

/// The bits go last: who finds one clear takes a page that is not there for zeros.
Result<> MissingPages::put(const PagePlace& place, std::uint64_t pages, std::span<const std::byte> content) {
    if (content.empty()) {
        HAKO_TRY(trap_.put_zeros(place, pages));
    } else {
        HAKO_TRY(trap_.put(place, content));
    }
    const Clock::time_point now = Clock::now();
    const std::lock_guard lock(mutex_);
    for (std::uint64_t page = place.first; page < place.first + pages; ++page) {
        std::uint64_t& word = missing_[place.region][page / 64];
        const std::uint64_t bit = std::uint64_t{1} << page % 64;
        if ((word & bit) != 0) --left_;
        word &= ~bit;
        const auto waits = waited_for_.find({place.region, page});
        if (waits == waited_for_.end()) continue;
        latencies_.add(now - waits->second);
        waited_for_.erase(waits);
        // One who found the bit set after the page was put, and removed again by the guest's balloon.
        trap_.wake({.region = place.region, .first = page});
    }
    return {};
}

PageBits MissingPages::bits() const {
    const std::lock_guard lock(mutex_);
    return missing_;
}

std::uint64_t MissingPages::left() const {
    const std::lock_guard lock(mutex_);
    return left_;
}

Latencies MissingPages::latencies() const {
    const std::lock_guard lock(mutex_);
    return latencies_;
}

}  // namespace hako::migration
