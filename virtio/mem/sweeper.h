// Gives the memory of unplugged blocks back to the host, a piece at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <latch>
#include <vector>

#include "virtio/mem/metrics.h"
#include "vmm/io/engine.h"
#include "vmm/io/timer.h"
#include "vmm/memory/guest_memory.h"

namespace hako::virtio::mem {

/// The driver does not wait for it: what is in an unplugged block is nobody's, at whatever moment it goes. A
/// block that is plugged again before its turn keeps what it had. While the gate of the memory is closed all
/// of it waits. Nothing of it is saved: after a restore all unplugged blocks are looked at.
///
/// Made and destroyed by the control thread, all else happens on the io thread.
class Sweeper final : public io::BatchWork {
  public:
    /// All outlive it. The blocks are those of `memory`, which begin at `address`.
    Sweeper(io::Engine& engine, GuestMemory& memory, GuestAddress address, DeviceMetrics& metrics);

    /// [first, first + count) are unplugged now, or are no longer.
    void add(std::uint64_t first, std::uint64_t count);
    void drop(std::uint64_t first, std::uint64_t count);
    /// All blocks that are, or are not, plugged at this moment.
    void add_all(bool plugged);

    void resume();
    /// Begins nothing more; counts `idle` down once nothing of it is with the kernel.
    void stop(std::latch& idle);
    void run_batch() override;

  private:
    static constexpr std::chrono::milliseconds kLookAgain{20};

    void mark(std::uint64_t word, std::uint64_t mask);
    void sweep();
    [[nodiscard]] std::uint64_t next_block() const;

    io::Engine& engine_;
    GuestMemory& memory_;
    const GuestAddress address_;
    DeviceMetrics& metrics_;
    io::Timer timer_;
    std::vector<std::uint64_t> waiting_;  ///< one bit a block
    std::uint64_t left_ = 0;              ///< bits that are set
    std::uint64_t at_ = 0;                ///< word where the next one is looked for
    bool running_ = false;
    std::latch* idle_ = nullptr;
};

}  // namespace hako::virtio::mem
