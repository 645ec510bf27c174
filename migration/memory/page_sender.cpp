#include "migration/memory/page_sender.h"

#include <algorithm>
#include <array>

#include "migration/memory/chunks.h"
#include "migration/memory/zero_page.h"
#include "migration/transport/channel.h"

namespace hako::migration {

Outcome<MemoryTotals> PageSender::send_round(std::uint32_t round, bool last, PageBits& bits,
                                             const Wait& wait) {
    first_ = round == 0;
    last_ = last;
    wait_ = wait;
    sent_ = {};
    for (std::size_t region = 0; region < bits.size(); ++region) {
        const std::uint64_t pages = setup_.memory.layout.regions[region].pages();
        for (std::uint64_t first = 0; first < pages; first += kChunkPages) {
            if (connection_of({.region = region, .first = first}, setup_.connections) != index_) continue;
            const PageRun chunk{.first = first, .pages = std::min(kChunkPages, pages - first)};
            const auto words = std::span(bits[region]).subspan(first / 64, (chunk.pages + 63) / 64);
            if (std::ranges::all_of(words, [](std::uint64_t word) { return word == 0; })) continue;
            if (!last && setup_.cut != nullptr && setup_.cut->load(std::memory_order_relaxed)) continue;
            HAKO_TRY(send_chunk(region, chunk, words));
            std::ranges::fill(words, 0);
        }
    }
    HAKO_TRY(flush());
    HAKO_TRY(send_message(
        stream_, Round{.round = round, .last = last, .pages = sent_.pages, .zero_pages = sent_.zero_pages},
        wait_));
    return sent_;
}

Outcome<> PageSender::send_chunk(std::size_t region, const PageRun& chunk,
                                 std::span<const std::uint64_t> words) {
    // Before the pages are read: what the guest writes after that comes in the next round.
    if (!last_) HAKO_TRY(clear(region, chunk, words));
    RunScanner scanner(words, 0, chunk.pages, kChunkPages);
    while (auto run = scanner.next()) {
        run->first += chunk.first;
        HAKO_TRY(add_run(region, *run));
    }
    // The pages of one chunk go out before those of the next are cleared, so that they do not grow old.
    return flush();
}

Outcome<> PageSender::add_run(std::size_t region, const PageRun& run) {
    const std::uint64_t address = setup_.memory.layout.regions[region].address;
    const std::span<std::byte> host = setup_.memory.pages({.region = region, .first = run.first}, run.pages);
    bool open = false;  // does the frame's last run end where this page begins?
    for (std::uint64_t page = 0; page < run.pages; ++page) {
        const std::span<std::byte> content = host.subspan(page * kPageSize, kPageSize);
        const bool zero = is_zero(region, run.first + page, content.data());
        if ((!zero && frame_pages_ == kMaxFramePages) ||
            (frame_.runs.size() == kMaxRuns && !(open && frame_.runs.back().zero == zero))) {
            HAKO_TRY(flush());
            open = false;
        }
        if (open && frame_.runs.back().zero == zero) {
            ++frame_.runs.back().pages;
            if (!zero) contents_.back() = {contents_.back().data(), contents_.back().size() + kPageSize};
        } else {
            frame_.runs.push_back(
                {.address = address + (run.first + page) * kPageSize, .pages = 1, .zero = zero});
            if (!zero) contents_.push_back(content);
            open = true;
        }
        if (!zero) ++frame_pages_;
        ++(zero ? sent_.zero_pages : sent_.pages);
    }
    return {};
}

/// Only pages that are read: one that is told to be zeros without a look may have been written meanwhile, and
/// then its bit is all that tells of it.
Outcome<> PageSender::clear(std::size_t region, const PageRun& chunk, std::span<const std::uint64_t> words) {
    if (!first_ || setup_.touched.empty()) {
        HAKO_TRY(setup_.clearer.clear_dirty(region, chunk.first, chunk.pages, words));
        return {};
    }
    std::array<std::uint64_t, kChunkPages / 64> read{};
    for (std::size_t word = 0; word < words.size(); ++word)
        read[word] = words[word] & setup_.touched[region][chunk.first / 64 + word];
    HAKO_TRY(
        setup_.clearer.clear_dirty(region, chunk.first, chunk.pages, std::span(read).first(words.size())));
    return {};
}

bool PageSender::is_zero(std::size_t region, std::uint64_t page, const std::byte* content) const {
    const bool untouched =
        first_ && !setup_.touched.empty() && (setup_.touched[region][page / 64] >> page % 64 & 1) == 0;
    return untouched || is_zero_page(content);
}

Outcome<> PageSender::flush() {
    if (frame_.runs.empty()) return {};
    const Blob payload = encode(frame_);
    auto header = encode_header(Type::kPages, 0, payload);
    parts_.clear();
    parts_.push_back({.iov_base = header.data(), .iov_len = header.size()});
    parts_.push_back({.iov_base = const_cast<std::byte*>(payload.data()), .iov_len = payload.size()});
    for (const std::span<std::byte> content : contents_)
        parts_.push_back({.iov_base = content.data(), .iov_len = content.size()});
    const std::uint64_t bytes = header.size() + payload.size() + frame_pages_ * kPageSize;
    if (!last_) HAKO_TRY(setup_.limit.acquire(bytes, wait_.stop));
    HAKO_TRY(stream_.send(std::span<iovec>(parts_), wait_));
    std::uint64_t zero_pages = 0;
    for (const Run& run : frame_.runs)
        zero_pages += run.zero ? run.pages : 0;
    setup_.counters.add({.bytes = bytes, .pages = frame_pages_, .zero_pages = zero_pages});
    sent_.bytes += bytes;
    frame_.runs.clear();
    contents_.clear();
    frame_pages_ = 0;
    return {};
}

}  // namespace hako::migration
