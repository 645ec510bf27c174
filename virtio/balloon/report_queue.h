// The reporting queue: requests are free pages of the guest, as buffers.
#pragma once

#include <atomic>
#include <cstdint>

#include "virtio/balloon/discard_queue.h"

namespace hako::virtio::balloon {

/// Reported pages keep their content or become zeros, which a driver that fills its free pages with something
/// else (`poison`) must not see: of such a driver nothing is given back (virtio 1.3, 5.5.6.6 and 5.5.6.7).
class ReportQueue final : public DiscardQueue {
  public:
    ReportQueue(const QueueSetup& setup, Queue queue, const std::atomic<std::uint32_t>& poison)
        : DiscardQueue(setup, std::move(queue)), poison_(poison) {}

  private:
    bool take_piece(std::uint32_t& budget) override;

    const std::atomic<std::uint32_t>& poison_;
};

}  // namespace hako::virtio::balloon
