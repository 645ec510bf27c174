// What the guest says of its memory.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "virtio/balloon/protocol.h"

namespace hako::virtio::balloon {

/// The newest values. Each is the driver's word. The io thread writes, anybody reads.
class Statistics {
  public:
    void put(std::uint16_t tag, std::uint64_t value) {
        if (tag >= values_.size()) return;
        values_[tag].store(value, std::memory_order_relaxed);
        known_.store(known_.load(std::memory_order_relaxed) | 1U << tag, std::memory_order_release);
    }
    /// Those that the driver has told, by name.
    [[nodiscard]] std::vector<std::pair<std::string_view, std::uint64_t>> values() const {
        std::vector<std::pair<std::string_view, std::uint64_t>> all;
        const std::uint32_t known = known_.load(std::memory_order_acquire);
        for (std::size_t tag = 0; tag < values_.size(); ++tag)
            if ((known >> tag & 1) != 0)
                all.emplace_back(kStatisticNames[tag], values_[tag].load(std::memory_order_relaxed));
        return all;
    }
    /// There is another driver.
    void clear() { known_.store(0, std::memory_order_release); }

  private:
    std::array<std::atomic<std::uint64_t>, kStatisticNames.size()> values_{};
    std::atomic<std::uint32_t> known_{0};
};

}  // namespace hako::virtio::balloon
