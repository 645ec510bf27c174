#include "migration/memory/page_queue.h"

#include <algorithm>

namespace hako::migration {

bool PageQueue::ask(const PagePlace& place, std::uint64_t pages, bool wake) {
    {
        const std::lock_guard lock(mutex_);
        if (asked_.size() >= kMaxRequests) return false;
        asked_.push_back({.region = place.region,
                          .run = {.first = place.first, .pages = std::min(pages, kBackgroundPages)},
                          .asked_for = true});
    }
    if (wake) changed_.notify_one();
    return true;
}

std::optional<PageQueue::Item> PageQueue::next(bool asked_only, std::chrono::nanoseconds time) {
    const auto end = Clock::now() + time;
    std::unique_lock lock(mutex_);
    for (bool late = time.count() == 0;;) {
        if (closed_ || left_ == 0) return std::nullopt;
        // Even if it is late: a request wakes one of those who wait, and that may be this one.
        if (auto item = take_asked()) return item;
        if (!asked_only) return take_next();
        if (late) return std::nullopt;
        late = changed_.wait_until(lock, end) == std::cv_status::timeout;
    }
}

/// Of what was asked for, the first run that has not gone yet.
std::optional<PageQueue::Item> PageQueue::take_asked() {
    while (!asked_.empty()) {
        Item& asked = asked_.front();
        const std::uint64_t end = asked.run.first + asked.run.pages;
        const auto found = RunScanner(missing_[asked.region], asked.run.first, end, kBackgroundPages).next();
        if (!found) {
            asked_.pop_front();
            continue;
        }
        const Item item{.region = asked.region, .run = *found, .asked_for = true};
        region_ = item.region;
        page_ = item.run.first + item.run.pages;
        give_out(item);
        return item;
    }
    return std::nullopt;
}

/// There is one.
std::optional<PageQueue::Item> PageQueue::take_next() {
    for (std::size_t turn = 0; turn <= missing_.size(); ++turn) {
        const std::uint64_t pages = missing_[region_].size() * 64;
        if (const auto found = RunScanner(missing_[region_], page_, pages, kBackgroundPages).next()) {
            const Item item{.region = region_, .run = *found, .asked_for = false};
            page_ = found->first + found->pages;
            give_out(item);
            return item;
        }
        region_ = (region_ + 1) % missing_.size();
        page_ = 0;
    }
    return std::nullopt;
}

void PageQueue::give_out(const Item& item) {
    for (std::uint64_t page = item.run.first; page < item.run.first + item.run.pages; ++page)
        missing_[item.region][page / 64] &= ~(std::uint64_t{1} << page % 64);
    left_ -= item.run.pages;
    if (left_ == 0) changed_.notify_all();
}

bool PageQueue::over() const {
    const std::lock_guard lock(mutex_);
    return closed_ || left_ == 0;
}

bool PageQueue::wait_for_end(std::chrono::nanoseconds time) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, time, [&] { return closed_ || left_ == 0; });
}

std::uint64_t PageQueue::left() const {
    const std::lock_guard lock(mutex_);
    return left_;
}

void PageQueue::close() {
    {
        const std::lock_guard lock(mutex_);
        closed_ = true;
    }
    changed_.notify_all();
}

}  // namespace hako::migration
