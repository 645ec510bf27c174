// A PageTrap without userfaultfd: whoever touches a page by touch() waits as the kernel would have it.
#pragma once

#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "migration/memory/memory_view.h"
#include "migration/memory/page_trap.h"
#include "vmm/base/eventfd.h"

namespace hako::migration::testing {

class FakeTrap final : public PageTrap {
  public:
    explicit FakeTrap(const MemoryView& memory) : memory_(memory), there_(make_bits(memory.layout, true)) {}

    /// The guest's: its page's second word, once the page is there. A write makes the page the guest's own:
    /// who gives it another content breaks it.
    std::uint64_t touch(const PagePlace& page, std::optional<std::uint64_t> write = {}) {
        std::unique_lock lock(mutex_);
        if (armed_ && !there(page)) {
            waiting_.push_back(page);
            event_.signal();
            changed_.wait(lock, [&] { return !armed_ || there(page); });
        }
        std::byte* const at = memory_.pages(page, 1).data() + 8;
        std::uint64_t value = 0;
        std::memcpy(&value, at, sizeof value);
        if (write) std::memcpy(at, &*write, sizeof *write);
        return value;
    }
    /// Nothing happened that must not.
    [[nodiscard]] std::string broken() const {
        const std::lock_guard lock(mutex_);
        return broken_;
    }
    /// Nobody waits any more, as when it is destroyed.
    void open() {
        {
            const std::lock_guard lock(mutex_);
            armed_ = false;
        }
        changed_.notify_all();
    }

    Result<> remove(const PageBits& stale) override {
        const std::lock_guard lock(mutex_);
        removed_early_ += count_bits(stale);
        take_away(stale);
        return {};
    }
    /// How many pages remove() took away.
    [[nodiscard]] std::uint64_t removed_early() const {
        const std::lock_guard lock(mutex_);
        return removed_early_;
    }
    Result<> arm(const PageBits& missing) override {
        const std::lock_guard lock(mutex_);
        take_away(missing);
        armed_ = true;
        return {};
    }
    Result<> disarm() override {
        {
            const std::lock_guard lock(mutex_);
            for (std::size_t region = 0; region < there_.size(); ++region)
                if (there_[region] != make_bits(memory_.layout, true)[region]) broken_ = "pages never came";
        }
        open();
        return {};
    }
    [[nodiscard]] int fd() const override { return event_.fd(); }
    Result<std::optional<PagePlace>> take() override {
        const std::lock_guard lock(mutex_);
        if (waiting_.empty()) {
            event_.take();
            return std::nullopt;
        }
        const PagePlace page = waiting_.front();
        waiting_.pop_front();
        return page;
    }
    Result<> put(const PagePlace& place, std::span<const std::byte> content) override {
        const std::uint64_t pages = content.size() / kPageSize;
        return fill(place, pages, [&](std::uint64_t page, std::byte* to) {
            std::memcpy(to, content.data() + page * kPageSize, kPageSize);
        });
    }
    Result<> put_zeros(const PagePlace& place, std::uint64_t pages) override {
        return fill(place, pages,
                    [](std::uint64_t /*page*/, std::byte* to) { std::memset(to, 0, kPageSize); });
    }
    void wake(const PagePlace& /*page*/) override { changed_.notify_all(); }

  private:
    void take_away(const PageBits& pages) {
        for (std::size_t region = 0; region < pages.size(); ++region) {
            for (std::uint64_t page = 0; page < memory_.layout.regions[region].pages(); ++page) {
                if ((pages[region][page / 64] >> page % 64 & 1) == 0) continue;
                there_[region][page / 64] &= ~(std::uint64_t{1} << page % 64);
                // What came for it before is wrong.
                std::memset(memory_.pages({.region = region, .first = page}, 1).data(), 0xee, kPageSize);
            }
        }
    }
    [[nodiscard]] bool there(const PagePlace& page) const {
        return (there_[page.region][page.first / 64] >> page.first % 64 & 1) != 0;
    }
    template <typename Fill>
    Result<> fill(const PagePlace& place, std::uint64_t pages, Fill fill) {
        {
            const std::lock_guard lock(mutex_);
            for (std::uint64_t page = 0; page < pages; ++page) {
                const PagePlace one{.region = place.region, .first = place.first + page};
                if (there(one)) continue;
                fill(page, memory_.pages(one, 1).data());
                there_[one.region][one.first / 64] |= std::uint64_t{1} << one.first % 64;
            }
        }
        changed_.notify_all();
        return {};
    }

    const MemoryView memory_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    PageBits there_;
    std::uint64_t removed_early_ = 0;
    bool armed_ = false;
    std::deque<PagePlace> waiting_;
    EventFd event_ = EventFd::create().value();
    std::string broken_;
};

/// What a destination gets of it: when that goes, nobody waits any more.
class LentTrap final : public PageTrap {
  public:
    explicit LentTrap(std::shared_ptr<FakeTrap> trap) : trap_(std::move(trap)) {}
    ~LentTrap() override { trap_->open(); }
    Result<> remove(const PageBits& stale) override { return trap_->remove(stale); }
    Result<> arm(const PageBits& missing) override { return trap_->arm(missing); }
    Result<> disarm() override { return trap_->disarm(); }
    [[nodiscard]] int fd() const override { return trap_->fd(); }
    Result<std::optional<PagePlace>> take() override { return trap_->take(); }
    Result<> put(const PagePlace& place, std::span<const std::byte> content) override {
        return trap_->put(place, content);
    }
    Result<> put_zeros(const PagePlace& place, std::uint64_t pages) override {
        return trap_->put_zeros(place, pages);
    }
    void wake(const PagePlace& page) override { trap_->wake(page); }

  private:
    const std::shared_ptr<FakeTrap> trap_;
};

}  // namespace hako::migration::testing
