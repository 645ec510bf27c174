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
    // Off and on again: empty, since nobody counted meanwhile.
    bucket.set_rate({}, kStart + 20ms);
    CHECK(bucket.wait(1'000'000, kStart + 20ms) == 0ns);
    bucket.take(1'000'000, kStart + 20ms);
    bucket.set_rate({.tokens = 10}, kStart + 30ms);
    CHECK(bucket.available(kStart + 30ms) == 0);
    CHECK(bucket.available(kStart + 130ms) == 1);
    // A one-time burst is given on top of what is there.
    bucket.set_rate({.tokens = 10, .one_time_burst = 100}, kStart + 130ms);
    CHECK(bucket.available(kStart + 130ms) == 101);
    bucket.set_rate({.tokens = 10}, kStart + 130ms);
    CHECK(bucket.available(kStart + 130ms) == 10);
}

TEST_CASE("tokens may come in any interval") {
    // The REST's {size: 500, one_time_burst: 300, refill_time: 100}.
    TokenBucket bucket({.tokens = 500, .interval = 100ms, .one_time_burst = 300}, kStart);
    CHECK(bucket.available(kStart + 1h) == 800);
    bucket.take(200, kStart + 1h);
    CHECK(bucket.available(kStart + 2h) == 600);  // nothing comes in before the one-time burst is used up
    bucket.take(600, kStart + 2h);
    CHECK(bucket.wait(1, kStart + 2h) == 200us);
    CHECK(bucket.available(kStart + 2h + 99ms) == 495);
    CHECK(bucket.available(kStart + 3h) == 500);  // and it never comes back

    TokenBucket slow({.tokens = 1, .interval = 24h, .burst = 3}, kStart);
    slow.take(3, kStart);
    CHECK(slow.wait(1, kStart) == 24h);
    CHECK(slow.available(kStart + 48h) == 2);
    CHECK_FALSE(TokenBucket({.tokens = 1, .interval = 0ms}, kStart).limited());
    CHECK_FALSE(TokenBucket({.tokens = 1, .interval = -1ms}, kStart).limited());

    TokenBucket slowest({.tokens = kMost,
                         .interval = std::chrono::milliseconds::max(),
                         .burst = kMost,
                         .one_time_burst = kMost},
                        Time(0ns));
    CHECK(slowest.available(Time(0ns)) == kMost);
    for (int i = 0; i < 3; ++i)
        slowest.take(kMost, Time(0ns));
    CHECK(slowest.wait(kMost, Time(0ns)) == 2 * std::chrono::nanoseconds(kMaxInterval));
    slowest.set_rate({.tokens = kMost, .interval = 1ms, .burst = kMost, .one_time_burst = kMost}, Time(0ns));
    CHECK(slowest.available(Time(0ns)) == 0);
}

TEST_CASE("another interval keeps the tokens there are, and parts of them") {
    TokenBucket bucket({.tokens = 1000, .interval = 1s, .burst = 10}, kStart);
    bucket.take(10, kStart);
    // 4.5 tokens; then one comes in each 500 ms.
    bucket.set_rate({.tokens = 20, .interval = 10s, .burst = 10}, kStart + 4500us);
    CHECK(bucket.available(kStart + 4500us) == 4);
    CHECK(bucket.wait(5, kStart + 4500us) == 250ms);
    bucket.take(9, kStart + 4500us);
    CHECK(bucket.wait(1, kStart + 4500us) == 2750ms);
    bucket.set_rate({.tokens = 1000, .interval = 1s, .burst = 10}, kStart + 4500us);
    CHECK(bucket.wait(1, kStart + 4500us) == 5500us);
}

TEST_CASE("who does not know how much he takes waits for a millisecond's worth") {
    TokenBucket bucket({.tokens = 5000, .burst = 100}, kStart);
    bucket.take(99, kStart);
    CHECK(bucket.wait_for_some(kStart) == 0ns);
    bucket.take(11, kStart);  // 10 owed
    CHECK(bucket.wait_for_some(kStart) == 3ms);
    CHECK(bucket.wait_for_some(kStart + 2ms) == 1ms);
    CHECK(bucket.wait_for_some(kStart + 2200us) == 0ns);  // awake all the same, it need not wait
    // One token at least, and no more than the burst.
    TokenBucket slow({.tokens = 10, .burst = 5}, kStart);
    slow.take(5, kStart);
    CHECK(slow.wait_for_some(kStart) == 100ms);
    TokenBucket small({.tokens = 1'000'000, .burst = 2}, kStart);
    small.take(2, kStart);
    CHECK(small.wait_for_some(kStart) == 2us);
    CHECK(TokenBucket({}, kStart).wait_for_some(kStart) == 0ns);
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
