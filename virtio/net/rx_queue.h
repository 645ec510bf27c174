// A receive queue of a network device at work: packets out of the tap, into the driver's buffers.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "virtio/net/packet_delivery.h"
#include "virtio/net/protocol.h"
#include "virtio/net/queue_worker.h"
#include "virtio/net/tap_watch.h"

namespace hako::virtio::net {

/// Reads land in slots made once and are copied from there. A packet takes as many of the driver's buffers
/// as it is long, which nobody knows before it was read: reading straight into them would take a queue's
/// worth of buffers for every read under way and give most back, out of order. So chains are taken when the
/// packet is there, none is held over a pause, and any mix of buffer sizes is right. A burst of reads starts
/// when all slots are free.
class RxQueue final : public QueueWorker {
  public:
    /// `pair`: of the backend.
    RxQueue(const QueueSetup& setup, Queue queue, Pair& pair);

    /// Starts or stops to read; the pair's tap queue is attached while it is read.
    void read_tap(bool on);

  private:
    static constexpr std::size_t kSlots = 32;
    static constexpr std::size_t kFewReads = 4;
    /// Packets up to this back no more than a page or two of their slot.
    static constexpr std::uint32_t kShortPacket = 4 * KiB;
    /// A frame with offloads is at most 64 KiB, its link header included or not, and our header.
    static constexpr std::size_t kSlotBytes = 68 * KiB;

    struct Slot final : io::Completion {
        void complete(std::int32_t result, std::uint32_t /*flags*/) override {
            queue->completed(*this, result);
        }

        RxQueue* queue = nullptr;
        std::byte* data = nullptr;
        std::uint32_t length = 0;
        int rw_flags = 0;
        bool reading = false;
    };

    void serve() override;
    [[nodiscard]] bool busy() const override { return reads_ != 0 || (stopped() && watch_.active()); }
    void cancel_waiting() override;
    void stopping() override { watch_.stop(); }

    [[nodiscard]] bool admitted();
    [[nodiscard]] std::size_t burst();
    void read();
    void completed(Slot& slot, std::int32_t result);
    void failed(std::int32_t result);
    void deliver_held();
    [[nodiscard]] PacketDelivery::Outcome deliver(const Slot& slot);

    Pair& pair_;
    TapWatch watch_;
    std::unique_ptr<std::byte[]> memory_;  ///< of the slots; untouched, hence unbacked, until one is read to
    std::array<Slot, kSlots> slots_;
    std::array<Slot*, kSlots> held_{};  ///< packets not delivered yet, from held_first_ on, in their order
    std::size_t held_first_ = 0;
    std::size_t held_count_ = 0;
    std::size_t reads_ = 0;              ///< under way
    std::size_t burst_ = kFewReads;      ///< reads to try at once, of short packets
    bool far_slots_backed_ = false;      ///< a long packet came into one beyond the first kFewReads
    bool burst_full_ = true;             ///< each read of this burst found a packet so far
    std::uint32_t likely_ = kSlotBytes;  ///< bytes of the next packet: the largest of late
    PacketDelivery delivery_;
};

}  // namespace hako::virtio::net
