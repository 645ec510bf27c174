// How fast a device may go: a token bucket for bytes and one for operations.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>

namespace hako::io {

/// A moment on a monotonic clock, which the caller reads: a limiter has none of its own.
using Time = std::chrono::steady_clock::time_point;

/// What one bucket lets through.
struct Rate {
    std::uint64_t per_second = 0;  ///< 0: unlimited
    std::uint64_t burst = 0;       ///< at once, after a rest; 0: what a second brings

    bool operator==(const Rate&) const = default;
};

struct RateLimits {
    Rate bytes;
    Rate operations;

    bool operator==(const RateLimits&) const = default;
};

/// Tokens that come in at a rate, up to the burst. Exact: a token is counted in its 1 / 10^9 parts, so that
/// no rounding adds up, and no rate, burst or span of time overflows. A clock that stands still or goes back
/// brings nothing.
class TokenBucket {
  public:
    static constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

    /// Full.
    TokenBucket(const Rate& rate, Time now);

    /// Keeps what is there or owed, as far as the new burst goes; a bucket that had no limit is full.
    void set_rate(const Rate& rate, Time now);
    [[nodiscard]] bool limited() const { return rate_ != 0; }
    /// Whole tokens there now; kUnlimited without a limit.
    [[nodiscard]] std::uint64_t available(Time now);
    /// How long until `tokens` may be taken, rounded up; zero: at once. More than the burst may be taken when
    /// the bucket is full.
    [[nodiscard]] std::chrono::nanoseconds wait(std::uint64_t tokens, Time now);
    /// Takes them, whether or not they are there: what is missing is owed.
    void take(std::uint64_t tokens, Time now);

  private:
    __extension__ using Parts = __int128;
    static constexpr Parts kPartsOfToken = 1'000'000'000;

    void refill(Time now);

    std::uint64_t rate_ = 0;   ///< tokens a second, which is parts a nanosecond
    std::uint64_t burst_ = 0;  ///< tokens
    Parts level_ = 0;          ///< at most the burst; negative: owed
    Time filled_;
};

/// Both buckets of a device. Used by one thread at a time; allocates and locks nothing.
///
/// Before each request the caller asks wait(); when that is zero it does the request and take()s what it
/// cost, else it asks again after that time.
class RateLimiter {
  public:
    RateLimiter(const RateLimits& limits, Time now);

    void set_limits(const RateLimits& limits, Time now);
    [[nodiscard]] bool limited() const { return bytes_.limited() || operations_.limited(); }
    /// How long until an operation on `bytes` bytes may go; zero: at once.
    [[nodiscard]] std::chrono::nanoseconds wait(std::uint64_t bytes, Time now);
    /// What an operation may move without owing any; TokenBucket::kUnlimited without a limit.
    [[nodiscard]] std::uint64_t available_bytes(Time now) { return bytes_.available(now); }
    /// Accounts for an operation on `bytes` bytes.
    void take(std::uint64_t bytes, Time now);

  private:
    TokenBucket bytes_;
    TokenBucket operations_;
};

}  // namespace hako::io
