#include "virtio/balloon/stats_queue.h"

#include <array>
#include <cstring>
#include <span>

namespace hako::virtio::balloon {
namespace {

/// Of one answer; there are not so many tags.
constexpr int kMaxValues = 64;

}  // namespace

void StatsQueue::ask() {
    wanted_ = true;
    setup_.engine.schedule(*this);
}

/// At most one buffer goes back for each question, so it ends.
void StatsQueue::serve() {
    for (;;) {
        auto popped = queue_.pop(chain_);
        if (popped && !*popped && queue_.enable_notifications()) popped = queue_.pop(chain_);
        if (!popped) return break_down(fault_text(popped.error()));
        if (!*popped) return;
        if (!has_read_) read();
        has_read_ = true;
        if (!wanted_) return queue_.unpop(chain_.head());
        queue_.push_used(chain_.head(), 0);
        has_read_ = false;
        wanted_ = false;
    }
}

void StatsQueue::read() {
    setup_.metrics.requests.add(1);
    std::array<std::byte, kStatisticBytes> entry{};
    for (int count = 0; count < kMaxValues && chain_.take_readable(entry); ++count) {
        std::uint16_t tag = 0;
        std::uint64_t value = 0;
        std::memcpy(&tag, entry.data(), sizeof tag);
        std::memcpy(&value, entry.data() + sizeof tag, sizeof value);
        statistics_.put(tag, value);
    }
    if (chain_.readable_bytes() != 0 || chain_.writable_bytes() != 0) setup_.metrics.errors.add(1);
}

}  // namespace hako::virtio::balloon
