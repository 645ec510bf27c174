// Puts received packets into the driver's buffers, wherever they come from.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "virtio/net/protocol.h"
#include "virtio/net/queue_worker.h"

namespace hako::virtio::net {

/// A packet takes as many chains as it is long; they are taken when it is there, and none is held back.
class PacketDelivery {
  public:
    enum class Outcome {
        kDone,       ///< delivered, or dropped
        kNoBuffers,  ///< nothing is taken; the driver kicks when it offers more
        kBroken,     ///< see fault()
    };

    /// Both outlive it.
    PacketDelivery(const QueueSetup& setup, Queue& queue);

    /// `header`: as the host gave it. `frame`: what follows it; not empty.
    [[nodiscard]] Outcome deliver(const Header& header, std::span<const std::byte> frame);
    /// Counts a packet that nobody gets.
    void drop() { setup_.metrics.dropped.add(1); }
    /// What is wrong with the queue.
    [[nodiscard]] std::string_view fault() const { return fault_; }

  private:
    /// A chain that holds a part of the packet under way.
    struct Part {
        std::uint16_t head;
        std::uint32_t bytes;
    };

    /// Takes the next chain, and looks again after asking for a kick. Nothing: none there, or broken.
    [[nodiscard]] std::optional<Outcome> take_chain(Chain& chain);
    /// Copies what fits of `data` into the chain from `offset` on; how much that is.
    void give_back();

    const QueueSetup& setup_;
    Queue& queue_;
    Chain first_;  ///< gets the header, when the number of parts is known
    Chain next_;
    std::vector<Part> parts_;
    std::size_t part_count_ = 0;
    std::string_view fault_;
};

}  // namespace hako::virtio::net
