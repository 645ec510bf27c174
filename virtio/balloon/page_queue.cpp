#include "virtio/balloon/page_queue.h"

#include <algorithm>
#include <span>

#include "virtio/balloon/config.h"

namespace hako::virtio::balloon {

bool PageQueue::take_piece(std::uint32_t& budget) {
    skip_done();
    for (PageNumber page = 0; chain_.readable_bytes() >= sizeof page;) {
        if (budget == 0 || count_ == pages_.size()) return false;
        // There is one, as was just looked.
        (void)chain_.take_readable(std::as_writable_bytes(std::span(&page, 1)));
        --budget;
        ++done_;
        if (!setup_.memory.readable(GuestAddress{page * kBalloonPage}, kBalloonPage)) {
            setup_.metrics.errors.add(1);
            continue;
        }
        setup_.metrics.pages.add(1);
        if (inflate_) pages_[count_++] = page;
    }
    if (chain_.readable_bytes() != 0 || chain_.writable_bytes() != 0) setup_.metrics.errors.add(1);
    return true;
}

void PageQueue::skip_done() {
    std::array<std::byte, 1024> skipped{};
    for (std::uint64_t left = done_ * sizeof(PageNumber); left > 0;) {
        const std::uint64_t piece = std::min<std::uint64_t>(left, skipped.size());
        // The guest may have made it shorter meanwhile.
        if (!chain_.take_readable(std::span(skipped).first(piece))) return;
        left -= piece;
    }
}

void PageQueue::flush() {
    const std::span pages = std::span(pages_).first(count_);
    std::ranges::sort(pages);
    for (std::size_t first = 0; first < pages.size();) {
        std::size_t last = first;
        while (last + 1 < pages.size() && pages[last + 1] - pages[last] <= 1)
            ++last;
        discard(GuestAddress{pages[first] * kBalloonPage}, (pages[last] - pages[first] + 1) * kBalloonPage);
        first = last + 1;
    }
    count_ = 0;
}

}  // namespace hako::virtio::balloon
