#include "virtio/mem/sweeper.h"

#include <bit>
#include <utility>

#include "virtio/mem/piece.h"
#include "vmm/memory/bit_range.h"

namespace hako::virtio::mem {

Sweeper::Sweeper(io::Engine& engine, GuestMemory& memory, GuestAddress address, DeviceMetrics& metrics)
    : engine_(engine),
      memory_(memory),
      address_(address),
      metrics_(metrics),
      timer_(engine, *this),
      waiting_(memory.blocks()->words()) {}

void Sweeper::mark(std::uint64_t word, std::uint64_t mask) {
    left_ += static_cast<std::uint64_t>(std::popcount(mask & ~waiting_[word]));
    waiting_[word] |= mask;
}

void Sweeper::add(std::uint64_t first, std::uint64_t count) {
    for_each_word(first, count, [this](std::uint64_t word, std::uint64_t mask) { mark(word, mask); });
    engine_.schedule(*this);
}

void Sweeper::drop(std::uint64_t first, std::uint64_t count) {
    for_each_word(first, count, [this](std::uint64_t word, std::uint64_t mask) {
        left_ -= static_cast<std::uint64_t>(std::popcount(mask & waiting_[word]));
        waiting_[word] &= ~mask;
    });
}

void Sweeper::add_all(bool plugged) {
    const PluggedBlocks& blocks = *memory_.blocks();
    for_each_word(0, blocks.count(), [&](std::uint64_t word, std::uint64_t mask) {
        mark(word, mask & (plugged ? blocks.word(word) : ~blocks.word(word)));
    });
    engine_.schedule(*this);
}

void Sweeper::resume() {
    running_ = true;
    engine_.schedule(*this);
}

void Sweeper::stop(std::latch& idle) {
    running_ = false;
    idle_ = &idle;
    timer_.stop();
    engine_.schedule(*this);
}

void Sweeper::run_batch() {
    if (running_ && left_ > 0) sweep();
    if (idle_ != nullptr && !timer_.active()) std::exchange(idle_, nullptr)->count_down();
}

/// There is one. From where the last one was, so that all have their turn.
std::uint64_t Sweeper::next_block() const {
    std::uint64_t word = at_;
    while (waiting_[word] == 0)
        word = (word + 1) % waiting_.size();
    return word * 64 + static_cast<std::uint64_t>(std::countr_zero(waiting_[word]));
}

void Sweeper::sweep() {
    if (memory_.discard_gate()->closed()) {
        if (!timer_.active()) timer_.start(kLookAgain);
        return;
    }
    const std::uint64_t size = memory_.blocks()->block_size();
    const std::uint64_t most = blocks_at_once(size);
    const std::uint64_t first = next_block();
    std::uint64_t count = 1;
    while (count < most && (first + count) / 64 < waiting_.size() &&
           (waiting_[(first + count) / 64] >> (first + count) % 64 & 1) != 0)
        ++count;
    at_ = first / 64;
    drop(first, count);
    const bool gone = memory_.discard(address_ + first * size, count * size);
    (gone ? metrics_.discarded : metrics_.kept).add(count * size);
    if (left_ > 0) engine_.schedule(*this);
}

}  // namespace hako::virtio::mem
