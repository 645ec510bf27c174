#include "virtio/balloon/report_queue.h"

#include <algorithm>

#include "virtio/balloon/config.h"

namespace hako::virtio::balloon {
namespace {

/// What is given back by one call.
constexpr std::uint64_t kPiece = 4 * MiB;
/// Pages in a row are cheaper than single ones.
constexpr std::uint64_t kPagesForOne = 8;

}  // namespace

bool ReportQueue::take_piece(std::uint32_t& budget) {
    if (chain_.readable_bytes() != 0) {
        setup_.metrics.errors.add(1);
        return true;
    }
    if (poison_.load(std::memory_order_relaxed) != 0) return true;
    std::uint64_t next = 0;  // where the next buffer begins in the chain
    for (const Segment& segment : chain_.writable()) {
        const std::uint64_t begin = next;
        next += segment.length;
        while (done_ < next) {
            if (budget == 0) return false;
            const std::uint64_t end = segment.address.value + segment.length;
            const GuestAddress from{
                align_up(segment.address.value + std::max(done_, begin) - begin, kBalloonPage)};
            const std::uint64_t to = std::min(end, from.value + kPiece) / kBalloonPage * kBalloonPage;
            --budget;
            if (to <= from.value) {  // no whole page is left of it
                done_ = next;
                break;
            }
            const std::uint64_t pages = (to - from.value) / kBalloonPage;
            setup_.metrics.pages.add(pages);
            discard(from, to - from.value);
            budget -= std::min(budget, static_cast<std::uint32_t>(pages / kPagesForOne));
            done_ = begin + to - segment.address.value;
        }
    }
    return true;
}

}  // namespace hako::virtio::balloon
