// How fast a device may go: a token bucket for bytes and one for operations.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>

namespace hako::io {

/// A moment on a monotonic clock, which the caller reads: a limiter has none of its own.
using Time = std::chrono::steady_clock::time_point;

/// Longest interval of a Rate: 10^6 seconds. Longer ones are taken as this.
inline constexpr std::chrono::milliseconds kMaxInterval{1'000'000'000};

/// What one bucket lets through. The REST's token bucket is `tokens` (size), `interval` (refill_time) and
/// `one_time_burst`.
struct Rate {
    std::uint64_t tokens = 0;                  ///< that come in an interval, evenly; 0: unlimited
    std::chrono::milliseconds interval{1000};  ///< 0: unlimited
    std::uint64_t burst = 0;                   ///< at once, after a rest; 0: `tokens`
    std::uint64_t one_time_burst = 0;          ///< beyond that, and never again

    /// Whether it limits anything.
    [[nodiscard]] bool limited() const { return tokens != 0 && interval.count() > 0; }
    bool operator==(const Rate&) const = default;
};

struct RateLimits {
    Rate bytes;
    Rate operations;

    bool operator==(const RateLimits&) const = default;
};

/// Tokens that come in at a rate, up to the burst. Exact: a token is counted in as many parts as its interval
/// has nanoseconds, so that no rounding adds up, and no rate, burst or span of time overflows. A clock that
/// stands still or goes back brings nothing, and while there is more than the burst nothing comes in.
class TokenBucket {
  public:
    static constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

    /// Full, with the one-time burst.
    TokenBucket(const Rate& rate, Time now);

    /// Keeps what is there or owed, as far as the new burst goes. A bucket that had no limit is empty: who
    /// went as fast as he liked has not rested. The new one-time burst comes on top.
    void set_rate(const Rate& rate, Time now);
    [[nodiscard]] bool limited() const { return rate_ != 0; }
    /// Whole tokens there now; kUnlimited without a limit.
    [[nodiscard]] std::uint64_t available(Time now);
    /// How long until `tokens` may be taken, rounded up; zero: at once. More than the burst may be taken when
    /// the bucket is full.
    [[nodiscard]] std::chrono::nanoseconds wait(std::uint64_t tokens, Time now);
    /// The wait of who takes without knowing how much it will be: zero while there is any token, else until
    /// a millisecond's worth is there, so that it wakes no more often than that.
    [[nodiscard]] std::chrono::nanoseconds wait_for_some(Time now);
    /// Takes them, whether or not they are there: what is missing is owed.
    void take(std::uint64_t tokens, Time now);

  private:
    __extension__ using Parts = __int128;

    void refill(Time now);
    [[nodiscard]] Parts full() const { return parts_of_token_ * burst_; }

    std::uint64_t rate_ = 0;    ///< tokens an interval, which is parts a nanosecond
    Parts parts_of_token_ = 1;  ///< the interval in nanoseconds
    std::uint64_t burst_ = 0;   ///< tokens
    std::uint64_t some_ = 1;    ///< tokens that a millisecond brings
    Parts level_ = 0;           ///< negative: owed
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
    /// TokenBucket::wait_for_some() of both.
    [[nodiscard]] std::chrono::nanoseconds wait_for_some(Time now);
    /// What an operation may move without owing any; TokenBucket::kUnlimited without a limit.
    [[nodiscard]] std::uint64_t available_bytes(Time now) { return bytes_.available(now); }
    /// How many operations may go without owing any; TokenBucket::kUnlimited without a limit.
    [[nodiscard]] std::uint64_t available_operations(Time now) { return operations_.available(now); }
    /// Accounts for an operation on `bytes` bytes.
    void take(std::uint64_t bytes, Time now);
    /// Accounts for more bytes of an operation that was counted.
    void take_bytes(std::uint64_t bytes, Time now) { bytes_.take(bytes, now); }

  private:
    TokenBucket bytes_;
    TokenBucket operations_;
};

}  // namespace hako::io
