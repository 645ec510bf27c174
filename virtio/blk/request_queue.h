// One queue of a block device at work: descriptor chains in, SQEs out, completions back into the used ring.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <latch>
#include <vector>

#include "virtio/blk/backend.h"
#include "virtio/blk/metrics.h"
#include "virtio/blk/request.h"
#include "virtio/device.h"
#include "virtio/queue.h"
#include "vmm/base/sparse_array.h"
#include "vmm/io/engine.h"
#include "vmm/io/event_watch.h"

namespace hako::virtio::blk {

/// What a queue works with; all of it outlives the queue.
struct QueueSetup {
    std::uint16_t index = 0;
    io::Engine& engine;
    GuestMemory& memory;
    TransportHooks& hooks;
    Backend& backend;
    QueueMetrics& metrics;
    bool flush_negotiated = false;  ///< without it every write is stable before it is answered
};

/// Serves one virtqueue. Made and destroyed by the transport's caller, all else happens on the io thread.
///
/// Requests live in slots, one for each descriptor, made once. A wake-up reaps completions, then run_batch()
/// pops what is new, prepares its SQEs, publishes the used index once and raises one interrupt, if any.
class RequestQueue final : public io::BatchWork {
  public:
    RequestQueue(const QueueSetup& setup, Queue queue);

    /// Listens to the doorbell and serves what is there already, unless `paused`.
    void start(int kick, bool paused);
    /// Takes no more requests; counts `idle` down once those in flight are visible to the guest.
    void drain(std::latch& idle);
    void resume();
    /// drain(), and no longer listens.
    void stop(std::latch& idle);
    [[nodiscard]] QueuePosition position() const { return queue_.position(); }

    void run_batch() override;

  private:
    enum class Mode { kRunning, kPaused, kStopped };
    /// What the SQE under way does. Some requests take several, one after another.
    enum class Step : std::uint8_t {
        kRead,
        kWrite,
        kFlush,
        kDiscard,
        kZeroRange,
        kPunchHole,
        kWriteZeroes,
        kSync
    };

    /// I/O vectors that fit into the slot itself; more go to the slot's share of long_vectors_.
    static constexpr std::size_t kInlineVectors = 16;

    struct Slot final : io::Completion {
        void complete(std::int32_t result, std::uint32_t /*flags*/) override {
            queue->completed(*this, result);
        }

        RequestQueue* queue = nullptr;
        Segment status;
        io::Time begun;               ///< taken off the queue
        std::uint64_t offset = 0;     ///< in the file, bytes
        std::uint64_t remaining = 0;  ///< bytes
        iovec* vectors = nullptr;
        std::uint32_t vector_count = 0;
        std::uint32_t answer_length = 0;  ///< bytes written to the chain when it succeeds
        std::uint16_t head = 0;
        RequestType type{};
        Step step{};
        std::uint8_t retries = 0;
        bool durable = false;   ///< stable before it is answered
        bool buffered = false;  ///< direct I/O refused it
        std::array<iovec, kInlineVectors> inline_vectors;
    };

    void pop_requests();
    void begin(std::uint16_t head);
    void begin_transfer(Slot& slot, const Request& request, Step step, std::span<const Segment> data,
                        std::uint32_t bytes);
    void begin_range(Slot& slot);
    void answer_id(Slot& slot);

    void submit(Slot& slot);
    void submit_transfer(Slot& slot);
    void submit_zeroes(Slot& slot);
    [[nodiscard]] bool fits_direct(const Slot& slot) const;
    void completed(Slot& slot, std::int32_t result);
    void mark_written(const Slot& slot, std::int32_t result);
    void transferred(Slot& slot, std::uint32_t bytes);
    void ranged(Slot& slot, std::int32_t result);
    [[nodiscard]] bool try_again(Slot& slot, std::int32_t result);
    void next_step(Slot& slot, Step step);
    void finish(Slot& slot, RequestStatus status);
    [[nodiscard]] io::Time round_time();
    void mark_dirty(const std::byte* host, std::uint64_t length);
    void break_down(std::string_view why);

    QueueSetup setup_;
    Queue queue_;
    Chain chain_;
    std::vector<Slot> slots_;
    SparseArray<iovec> long_vectors_;
    io::EventWatch doorbell_;
    io::Time round_;  ///< when this round of the engine came to this queue, for latencies; read once a round
    bool round_known_ = false;
    bool progress_ = false;  ///< a request began or ended in this round
    Mode mode_ = Mode::kPaused;
    std::latch* idle_ = nullptr;
};

}  // namespace hako::virtio::blk
