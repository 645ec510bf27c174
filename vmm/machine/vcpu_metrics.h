// What a vCPU did, counted by its thread and read from anywhere.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace hako {

/// Values at one moment.
struct VcpuMetrics {
    std::uint32_t id = 0;
    /// By KVM's exit reason, lower case ("io", "mmio", "hlt"; "signal": taken out by hako); those that were.
    std::vector<std::pair<std::string, std::uint64_t>> exits;
    std::chrono::nanoseconds cpu_time{};  ///< of the thread, the guest's included

    bool operator==(const VcpuMetrics&) const = default;
};

/// Live counters of exits; one thread counts.
class VcpuExits {
  public:
    void count(std::uint32_t reason) {
        auto& counter = counts_[reason < kSignal ? reason : kSignal - 1];
        counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    void count_signal() {
        counts_[kSignal].store(counts_[kSignal].load(std::memory_order_relaxed) + 1,
                               std::memory_order_relaxed);
    }
    /// All but signals.
    [[nodiscard]] std::uint64_t total() const;
    [[nodiscard]] std::vector<std::pair<std::string, std::uint64_t>> values() const;

  private:
    static constexpr std::size_t kSignal = 48;  ///< above all of KVM's reasons; the last of these is "other"

    std::array<std::atomic<std::uint64_t>, kSignal + 1> counts_{};
};

}  // namespace hako
