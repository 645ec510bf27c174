#include "devices/console/history.h"

#include <algorithm>
#include <cstring>

namespace hako::console {

void History::append(std::span<const std::uint8_t> bytes) {
    const std::size_t all = bytes.size();
    if (all > ring_.size()) {
        // Only the newest stay.
        end_ += all - ring_.size();
        bytes = bytes.last(ring_.size());
    }
    while (!bytes.empty()) {
        const std::size_t at = end_ % ring_.size();
        const std::size_t count = std::min(ring_.size() - at, bytes.size());
        std::memcpy(ring_.data() + at, bytes.data(), count);
        end_ += count;
        bytes = bytes.subspan(count);
    }
    held_ = std::min(ring_.size(), held_ + all);
}

unsigned History::pieces(std::uint64_t position, std::size_t limit, std::array<iovec, 2>& out) {
    std::size_t left = std::min<std::uint64_t>(end_ - position, limit);
    unsigned count = 0;
    while (left > 0) {
        const std::size_t at = position % ring_.size();
        const std::size_t length = std::min(ring_.size() - at, left);
        out[count++] = {.iov_base = ring_.data() + at, .iov_len = length};
        position += length;
        left -= length;
    }
    return count;
}

}  // namespace hako::console
