#include "migration/memory/page_receiver.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "migration/memory/chunks.h"
#include "migration/transport/channel.h"

namespace hako::migration {
namespace {

/// From here on a system call is cheaper than writing zeros, and it gives memory back.
constexpr std::uint64_t kWorthACall = 64 * KiB;

}  // namespace

void erase_pages(std::span<std::byte> pages) {
    // Punches a hole into a shared memfd; of other mappings the kernel refuses it, and nothing has happened.
    if (pages.size() >= kWorthACall && ::madvise(pages.data(), pages.size(), MADV_REMOVE) == 0) return;
    std::memset(pages.data(), 0, pages.size());
}

Outcome<Round> PageReceiver::receive_round(std::uint32_t round, const Wait& wait) {
    round_ = {};
    for (;;) {
        const Frame frame = HAKO_TRY(receive_frame(stream_, wait));
        if (frame.type == Type::kPages) {
            const auto pages = HAKO_TRY(open_frame<Pages>(frame));
            HAKO_TRY(receive_pages(pages, wait));
            continue;
        }
        if (frame.type == Type::kBlocks && blocks_) {
            const auto blocks = HAKO_TRY(open_frame<Blocks>(frame));
            round_ += HAKO_TRY(blocks_->receive(blocks, wait));
            continue;
        }
        const auto end = HAKO_TRY(open_frame<Round>(frame));
        if (end.round != round)
            return fail_as(Event::kGarbage, "round {} ends where round {} is under way", end.round, round);
        if (end.blocks != round_.blocks)
            return fail_as(Event::kGarbage, "round {}: {} blocks were sent, {} came", round, end.blocks,
                           round_.blocks);
        if (end.pages != round_.pages || end.zero_pages != round_.zero_pages)
            return fail_as(Event::kGarbage, "round {}: {} pages and {} zero ones were sent, {} and {} came",
                           round, end.pages, end.zero_pages, round_.pages, round_.zero_pages);
        return end;
    }
}

Outcome<PagePlace> PageReceiver::check(const Run& run) const {
    const auto place = find_pages(setup_.memory.layout, run.address, run.pages);
    if (!place || !in_one_chunk(*place, run.pages))
        return fail_as(Event::kGarbage, "{} pages at {:#x}: not inside one chunk of the guest's memory",
                       run.pages, run.address);
    if (connection_of(*place, setup_.connections) != index_)
        return fail_as(Event::kGarbage, "pages at {:#x} came over connection {}, which is not theirs",
                       run.address, index_);
    return *place;
}

Outcome<> PageReceiver::receive_pages(const Pages& pages, const Wait& wait) {
    parts_.clear();
    MemoryTotals more{.bytes = kHeaderBytes + pages.runs.size() * kRunBytes};
    // All is looked at before anything is touched.
    for (const Run& run : pages.runs) {
        HAKO_TRY(check(run));
        (run.zero ? more.zero_pages : more.pages) += run.pages;
    }
    if (pages.runs.empty() || more.pages > kMaxFramePages)
        return fail_as(Event::kGarbage, "PAGES with {} runs and {} pages: at most {} go into one",
                       pages.runs.size(), more.pages, kMaxFramePages);
    for (const Run& run : pages.runs) {
        const PagePlace place = *find_pages(setup_.memory.layout, run.address, run.pages);
        if (run.zero) {
            make_zero(place, run.pages);
        } else {
            const std::span<std::byte> host = setup_.memory.pages(place, run.pages);
            parts_.push_back({.iov_base = host.data(), .iov_len = host.size()});
        }
        mark(place, run.pages);
    }
    HAKO_TRY(stream_.receive(std::span<iovec>(parts_), wait));
    more.bytes += more.pages * kPageSize;
    round_.pages += more.pages;
    round_.zero_pages += more.zero_pages;
    setup_.counters.add(more);
    return {};
}

void PageReceiver::mark(const PagePlace& place, std::uint64_t pages) {
    RegionBits& words = setup_.received[place.region];
    for (std::uint64_t page = place.first; page < place.first + pages; ++page)
        words[page / 64] |= std::uint64_t{1} << (page % 64);
}

void PageReceiver::make_zero(const PagePlace& place, std::uint64_t pages) {
    // What never came is zero as it is, and stays untouched: no memory is spent on it.
    RunScanner came(setup_.received[place.region], place.first, place.first + pages, kChunkPages);
    while (const auto run = came.next())
        erase_pages(setup_.memory.pages({.region = place.region, .first = run->first}, run->pages));
}

}  // namespace hako::migration
