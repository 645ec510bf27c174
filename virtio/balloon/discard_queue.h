// What the queues have in common by which the guest gives pages.
#pragma once

#include <chrono>

#include "virtio/balloon/queue_worker.h"
#include "vmm/io/timer.h"

namespace hako::virtio::balloon {

/// A request may name more pages than a batch is to give back: then it stays in the available ring, and the
/// next batch goes on where this one ended. Nothing of that is saved: to give a page back twice does no harm,
/// as long as the driver waits for the answer. While the gate of the memory is closed, all of them wait.
class DiscardQueue : public QueueWorker {
  public:
    DiscardQueue(const QueueSetup& setup, Queue queue)
        : QueueWorker(setup, std::move(queue)), timer_(setup.engine, *this) {}

  protected:
    /// Does the next piece of the request in `chain_`, from `done_` on, and says so there; spends of
    /// `budget`. True: that was all of it.
    virtual bool take_piece(std::uint32_t& budget) = 0;
    /// Ends a batch.
    virtual void flush() {}
    /// Gives back guest memory that the driver named; counts.
    void discard(GuestAddress address, std::uint64_t length);

    std::uint64_t done_ = 0;  ///< of the request that is the next in the available ring

  private:
    static constexpr std::chrono::milliseconds kLookAgain{20};

    void serve() final;
    void take_requests();
    [[nodiscard]] bool at_rest() final;

    io::Timer timer_;
};

}  // namespace hako::virtio::balloon
