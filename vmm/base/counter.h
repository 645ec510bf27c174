// A number that one thread counts and anybody reads.
#pragma once

#include <atomic>
#include <cstdint>

namespace hako {

/// One counter: a single thread writes, any thread reads.
class Counter {
  public:
    void add(std::uint64_t n) { value_.store(get() + n, std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

  private:
    std::atomic<std::uint64_t> value_{0};
};

}  // namespace hako
