#include "vmm/io/rate_limiter.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>

using namespace hako::io;
using namespace std::chrono_literals;
using std::chrono::nanoseconds;

namespace {

constexpr Time kStart{1h};
constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

}  // namespace

TEST_CASE("a rate of zero lets everything through, whatever the burst") {
    TokenBucket bucket({.tokens = 0, .burst = 5}, kStart);
    CHECK_FALSE(bucket.limited());
    CHECK(bucket.available(kStart) == TokenBucket::kUnlimited);
    for (int i = 0; i < 3; ++i) {
        CHECK(bucket.wait(kMost, kStart) == 0ns);
        bucket.take(kMost, kStart);
    }
    CHECK(bucket.wait(kMost, kStart) == 0ns);
}

TEST_CASE("a full bucket gives its burst at once, then its rate") {
    TokenBucket bucket({.tokens = 1000, .burst = 10}, kStart);
    CHECK(bucket.available(kStart) == 10);
    CHECK(bucket.wait(10, kStart) == 0ns);
    bucket.take(10, kStart);
    CHECK(bucket.available(kStart) == 0);
    CHECK(bucket.wait(1, kStart) == 1ms);
    CHECK(bucket.wait(5, kStart) == 5ms);
    CHECK(bucket.wait(5, kStart + 2ms) == 3ms);
    CHECK(bucket.wait(5, kStart + 5ms - 1ns) == 1ns);
    CHECK(bucket.wait(5, kStart + 5ms) == 0ns);
    CHECK(bucket.available(kStart + 1h) == 10);  // a rest fills it, and no more
}

TEST_CASE("without a burst a bucket holds what a second brings") {
    TokenBucket bucket({.tokens = 300}, kStart);
    CHECK(bucket.available(kStart + 1h) == 300);
}

TEST_CASE("a time that stands still or goes back brings nothing, and costs nothing later") {
    TokenBucket bucket({.tokens = 1000, .burst = 10}, kStart);
    bucket.take(10, kStart);
    for (int i = 0; i < 100; ++i)
        CHECK(bucket.wait(1, kStart) == 1ms);
    CHECK(bucket.wait(1, kStart - 30min) == 1ms);
    CHECK(bucket.available(Time::min()) == 0);
    CHECK(bucket.wait(1, kStart + 1ms) == 0ns);
    CHECK(bucket.available(kStart + 1ms) == 1);
}

TEST_CASE("the wait it tells is enough and not too long, and fractions of a token are not lost") {
    // 3 tokens a second: no whole number of nanoseconds each.
    TokenBucket bucket({.tokens = 3, .burst = 1}, kStart);
    bucket.take(1, kStart);
    const nanoseconds wait = bucket.wait(1, kStart);
    CHECK(wait == 333'333'334ns);
    CHECK(bucket.wait(1, kStart + wait - 1ns) == 1ns);
    CHECK(bucket.wait(1, kStart + wait) == 0ns);

    // Looked at every nanosecond or only at the end: the same tokens.
    TokenBucket watched({.tokens = 7, .burst = 1000}, kStart);
    watched.take(1000, kStart);
    for (int i = 1; i < 10'000; ++i)
        CHECK(watched.available(kStart + i * 1ns) == 0);
    CHECK(watched.available(kStart + 1s - 1ns) == 6);
    CHECK(watched.available(kStart + 1s) == 7);
}

TEST_CASE("over any time no more goes than the burst and what the rate brought") {
    TokenBucket bucket({.tokens = 1'000'003, .burst = 4096}, kStart);
    Time now = kStart;
    std::uint64_t taken = 0;
    std::uint64_t size = 1;
    while (now < kStart + 2s) {
        size = (size * 48'271) % 4096 + 1;
        now += bucket.wait(size, now);
        CHECK(bucket.wait(size, now) == 0ns);
        bucket.take(size, now);
        taken += size;
        const auto brought = static_cast<std::uint64_t>((now - kStart).count()) * 1'000'003 / 1'000'000'000;
        REQUIRE(taken <= 4096 + brought);
    }
    CHECK(taken >= 2 * 1'000'003);  // and no less: the rate is used up
}

TEST_CASE("a request beyond the burst goes when the bucket is full, and is paid off after it") {
    TokenBucket bucket({.tokens = 1000, .burst = 10}, kStart);
    bucket.take(4, kStart);
    CHECK(bucket.wait(110, kStart) == 4ms);
    CHECK(bucket.wait(110, kStart + 4ms) == 0ns);
    bucket.take(110, kStart + 4ms);
    CHECK(bucket.available(kStart + 4ms) == 0);
    CHECK(bucket.wait(1, kStart + 4ms) == 101ms);
    CHECK(bucket.wait(0, kStart + 4ms) == 0ns);  // what costs nothing does not wait for it
    CHECK(bucket.wait(110, kStart + 4ms) == 110ms);
}

TEST_CASE("no rate, burst, request or span of time overflows") {
    TokenBucket huge({.tokens = kMost, .burst = kMost}, Time(0ns));
    CHECK(huge.available(Time(0ns)) == kMost);
    huge.take(kMost, Time(0ns));
    CHECK(huge.available(Time(0ns)) == 0);
    CHECK(huge.wait(kMost, Time(0ns)) == 1s);
    CHECK(huge.wait(1, Time(0ns)) == 1ns);
    CHECK(huge.available(Time(1ns)) == kMost / 1'000'000'000);
    CHECK(huge.available(Time::max()) == kMost);
    for (int i = 0; i < 5; ++i)
        huge.take(kMost, Time::max());
    CHECK(huge.wait(1, Time::max()) > 0ns);

    // A debt that is paid off after the end of time.
    TokenBucket slow({.tokens = 1, .burst = kMost}, Time(0ns));
    slow.take(kMost, Time(0ns));
    CHECK(slow.wait(kMost, Time(0ns)) == nanoseconds::max());
    CHECK(slow.wait(1, Time(0ns)) == 1s);
    CHECK(slow.available(Time::max()) == 9'223'372'036);

    // The largest span there is.
    TokenBucket old({.tokens = kMost, .burst = 1}, Time(0ns));
    old.take(kMost, Time(0ns));
    CHECK(old.available(Time::max()) == 1);
}

TEST_CASE("a rate may change at any time") {
    TokenBucket bucket({.tokens = 1000, .burst = 10}, kStart);
    bucket.take(10, kStart);
    // What the old rate brought until now stays, the new one counts from now on.
    bucket.set_rate({.tokens = 100, .burst = 10}, kStart + 4ms);
    CHECK(bucket.available(kStart + 4ms) == 4);
    CHECK(bucket.wait(5, kStart + 4ms) == 10ms);
    CHECK(bucket.available(kStart + 14ms) == 5);
    // A smaller burst takes the surplus away, a larger one does not fill itself.
    bucket.set_rate({.tokens = 100, .burst = 2}, kStart + 14ms);
    CHECK(bucket.available(kStart + 14ms) == 2);
    bucket.set_rate({.tokens = 100, .burst = 50}, kStart + 14ms);
    CHECK(bucket.available(kStart + 14ms) == 2);
    // What is owed shrinks to the burst.
    bucket.take(1002, kStart + 14ms);
    CHECK(bucket.wait(1, kStart + 14ms) == 10'010ms);
    bucket.set_rate({.tokens = 100, .burst = 50}, kStart + 14ms);
    CHECK(bucket.wait(1, kStart + 14ms) == 510ms);
    // Off and on again: as new.
    bucket.set_rate({}, kStart + 20ms);
    CHECK(bucket.wait(1'000'000, kStart + 20ms) == 0ns);
    bucket.take(1'000'000, kStart + 20ms);
    bucket.set_rate({.tokens = 10}, kStart + 30ms);
    CHECK(bucket.available(kStart + 30ms) == 10);
}

TEST_CASE("a limiter waits for the slower of its two buckets") {
    RateLimiter limiter({.bytes = {.tokens = 1000, .burst = 100}, .operations = {.tokens = 10, .burst = 2}},
                        kStart);
    CHECK(limiter.limited());
    CHECK(limiter.wait(50, kStart) == 0ns);
    limiter.take(50, kStart);
    CHECK(limiter.available_bytes(kStart) == 50);
    CHECK(limiter.wait(60, kStart) == 10ms);  // bytes
    CHECK(limiter.wait(50, kStart) == 0ns);
    limiter.take(50, kStart);
    CHECK(limiter.wait(10, kStart) == 100ms);  // operations
    CHECK(limiter.wait(100, kStart) == 100ms);
    CHECK(limiter.wait(0, kStart) == 100ms);

    limiter.set_limits({.bytes = {.tokens = 1000, .burst = 100}, .operations = {}}, kStart);
    CHECK(limiter.wait(0, kStart) == 0ns);
    CHECK(limiter.wait(10, kStart) == 10ms);
    limiter.set_limits({}, kStart);
    CHECK_FALSE(limiter.limited());
    CHECK(limiter.available_bytes(kStart) == TokenBucket::kUnlimited);
    CHECK(limiter.wait(kMost, kStart) == 0ns);
}
