// Postcopy, source: which page goes next.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>

#include "migration/memory/page_bits.h"
#include "migration/transport/wait.h"

namespace hako::migration {

/// Pages that the destination lacks: those it asks for first, then the others in a row, beginning behind what
/// it asked for last, since a guest goes on there. Each is given out once. Any thread.
class PageQueue {
  public:
    /// Pages in a row that are given out together when nobody asked for them: few, for a request to come
    /// between.
    static constexpr std::uint64_t kBackgroundPages = 64;
    /// A destination has not that many threads that could wait.
    static constexpr std::size_t kMaxRequests = 64 * 1024;

    explicit PageQueue(PageBits missing) : left_(count_bits(missing)), missing_(std::move(missing)) {}

    struct Item {
        std::size_t region = 0;
        PageRun run;
        bool asked_for = false;
    };

    /// False: more requests than can be. `wake`: one of those who wait in next() is to have it.
    bool ask(const PagePlace& place, std::uint64_t pages, bool wake = true);
    /// Waits for at most `time`; nothing then, or when all are given out or it is closed. `asked_only`: for
    /// what is asked for.
    std::optional<Item> next(bool asked_only, std::chrono::nanoseconds time);
    /// All are given out, or it is closed.
    [[nodiscard]] bool over() const;
    /// over(), or it waits for that, for at most `time`.
    bool wait_for_end(std::chrono::nanoseconds time);
    [[nodiscard]] std::uint64_t left() const;
    /// Nothing more is given out.
    void close();

  private:
    std::optional<Item> take_asked();
    std::optional<Item> take_next();
    void give_out(const Item& item);

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::uint64_t left_;
    PageBits missing_;
    std::deque<Item> asked_;
    std::size_t region_ = 0;  ///< where the others go on
    std::uint64_t page_ = 0;
    bool closed_ = false;
};

}  // namespace hako::migration
