// A transmit queue of a network device at work: the driver's packets, into the tap.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <vector>

#include "virtio/net/protocol.h"
#include "virtio/net/queue_worker.h"
#include "virtio/second_look.h"
#include "vmm/base/sparse_array.h"

namespace hako::virtio::net {

/// Packets go to the tap from guest memory, header and all: the kernel copies the header once, checks it
/// and refuses what it does not like. Slots are made once, one for each descriptor.
class TxQueue final : public QueueWorker {
  public:
    /// `pair`: of the backend.
    TxQueue(const QueueSetup& setup, Queue queue, Pair& pair);

  private:
    /// I/O vectors that fit into the slot itself (Linux sends up to 19); more go to the slot's share of
    /// long_vectors_.
    static constexpr std::size_t kInlineVectors = 20;

    struct Slot final : io::Completion {
        void complete(std::int32_t result, std::uint32_t /*flags*/) override {
            queue->completed(*this, result);
        }

        TxQueue* queue = nullptr;
        const iovec* vectors = nullptr;
        std::uint32_t vector_count = 0;
        std::uint16_t head = 0;
        int rw_flags = 0;
        std::array<iovec, kInlineVectors> inline_vectors;
    };

    void serve() override;
    void cancel_waiting() override { setup_.backend.tx.leave(*this); }
    [[nodiscard]] bool admitted();
    void begin();
    void submit(Slot& slot);
    void completed(Slot& slot, std::int32_t result);

    Pair& pair_;
    SecondLook second_look_;
    std::uint32_t small_ = 0;  ///< small packets since the queue last ran empty
    Chain chain_;
    std::vector<Slot> slots_;
    SparseArray<iovec> long_vectors_;
};

}  // namespace hako::virtio::net
