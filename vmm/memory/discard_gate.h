// Whether pages of guest memory may be given back to the host just now.
#pragma once

#include <atomic>

namespace hako {

/// Open, but while pages of it are still to come from elsewhere (postcopy): one that is missing and one that
/// was given back look alike then. Any thread; one at a time closes it.
class DiscardGate {
  public:
    void close() { closed_.store(true, std::memory_order_release); }
    void open() { closed_.store(false, std::memory_order_release); }
    [[nodiscard]] bool closed() const { return closed_.load(std::memory_order_acquire); }

  private:
    std::atomic<bool> closed_{false};
};

}  // namespace hako
