// The inflate and the deflate queue: requests are lists of page numbers.
#pragma once

#include <array>
#include <cstdint>

#include "virtio/balloon/discard_queue.h"
#include "virtio/balloon/protocol.h"

namespace hako::virtio::balloon {

/// Pages that come are given back to the host, runs of them at once. Those that go need nothing: the host
/// gives memory when they are touched. A number that is no page of guest memory is passed over.
class PageQueue final : public DiscardQueue {
  public:
    PageQueue(const QueueSetup& setup, Queue queue, bool inflate)
        : DiscardQueue(setup, std::move(queue)), inflate_(inflate) {}

  private:
    bool take_piece(std::uint32_t& budget) override;
    void flush() override;
    void skip_done();

    const bool inflate_;
    std::array<PageNumber, 256> pages_{};  ///< to be given back at the end of the batch
    std::size_t count_ = 0;
};

}  // namespace hako::virtio::balloon
