#include "virtio/net/packet_delivery.h"

#include <span>

namespace hako::virtio::net {

PacketDelivery::PacketDelivery(const QueueSetup& setup, Queue& queue)
    : setup_(setup), queue_(queue), first_(kMaxQueueSize), next_(kMaxQueueSize), parts_(queue.size()) {}

PacketDelivery::Outcome PacketDelivery::deliver(const Header& header, std::span<const std::byte> frame) {
    std::span<const std::byte> left = frame;
    const bool mergeable = (setup_.features & feature::kMergeableBuffers) != 0;
    part_count_ = 0;
    while (!left.empty()) {
        if (part_count_ == parts_.size()) {
            // The whole queue does not hold this packet, and it will not grow.
            give_back();
            drop();
            return Outcome::kDone;
        }
        const bool is_first = part_count_ == 0;
        Chain& chain = is_first ? first_ : next_;
        if (const auto ended = take_chain(chain)) return *ended;
        const std::size_t offset = is_first ? sizeof(Header) : 0;
        const std::uint32_t bytes = chain.write(setup_.memory, left, offset);
        parts_[part_count_++] = {.head = chain.head(), .bytes = static_cast<std::uint32_t>(offset) + bytes};
        left = left.subspan(bytes);
        if (!mergeable && !left.empty()) {
            // Without merging one chain must hold a packet; this one goes back empty (5.1.6.3.1).
            queue_.push_used(chain.head(), 0);
            drop();
            return Outcome::kDone;
        }
    }
    const Header shown = received_header(header, static_cast<std::uint16_t>(part_count_), setup_.features);
    first_.write(setup_.memory, std::as_bytes(std::span(&shown, 1)));
    for (const Part& part : std::span(parts_).first(part_count_))
        queue_.push_used(part.head, part.bytes);
    setup_.metrics.packets.add(1);
    setup_.metrics.bytes.add(frame.size());
    return Outcome::kDone;
}

std::optional<PacketDelivery::Outcome> PacketDelivery::take_chain(Chain& chain) {
    auto popped = queue_.pop(chain);
    if (popped && !*popped) {
        // Before give_back(): the kick must come for what is offered beyond the chains taken by now.
        if (queue_.enable_notifications()) {
            queue_.disable_notifications();
            popped = queue_.pop(chain);
        }
    }
    fault_ = {};
    if (!popped) {
        fault_ = virtio::fault_text(popped.error());
    } else if (!*popped) {
        give_back();
        return Outcome::kNoBuffers;
    } else if (chain.readable_bytes() != 0) {
        fault_ = "a receive buffer is not for the device to write";
    } else if (chain.writable_bytes() < sizeof(Header)) {
        fault_ = "a receive buffer is shorter than the header";
    }
    if (fault_.empty()) return std::nullopt;
    if (popped) queue_.forget(chain.head());
    while (part_count_ > 0)
        queue_.forget(parts_[--part_count_].head);
    return Outcome::kBroken;
}

void PacketDelivery::give_back() {
    while (part_count_ > 0)
        queue_.unpop(parts_[--part_count_].head);
}

}  // namespace hako::virtio::net
