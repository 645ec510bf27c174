#include "migration/memory/postcopy_sender.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "migration/memory/zero_page.h"
#include "migration/transport/channel.h"

namespace hako::migration {

std::unique_ptr<PostcopySender> PostcopySender::start(const PostcopySenderSetup& setup, PageBits missing,
                                                      std::vector<std::unique_ptr<Stream>> streams,
                                                      Stop& stop) {
    std::unique_ptr<PostcopySender> sender(
        new PostcopySender(setup, std::move(missing), std::move(streams), stop));
    for (unsigned index = 0; index < sender->streams_.size(); ++index)
        sender->threads_.emplace_back(&PostcopySender::run, sender.get(), index);
    return sender;
}

PostcopySender::~PostcopySender() {
    queue_.close();
    stop_.raise({Event::kCancelled, Error(Fault::kState, "the migration is over")});
    shut_down();
    for (std::thread& thread : threads_)
        thread.join();
}

void PostcopySender::shut_down() {
    for (const auto& stream : streams_)
        stream->shut_down();
}

Outcome<> PostcopySender::ask(const PageRequest& request) {
    const auto place = find_pages(setup_.memory.layout, request.address, request.pages);
    if (!place || request.pages == 0)
        return fail_as(Event::kGarbage, "PAGE_REQUEST for {} pages at {:#x}, which are not the guest's",
                       request.pages, request.address);
    if (!queue_.ask(*place, request.pages, !has_fast_lane()))
        return fail_as(Event::kGarbage, "the destination asks for pages without an end");
    return has_fast_lane() ? send_asked() : Outcome<>();
}

Outcome<> PostcopySender::send_asked() {
    // What is taken from the queue has gone before keep_fast_lane() says that all has.
    const std::lock_guard lock(fast_mutex_);
    while (const auto item = queue_.next(true, {})) {
        const MemoryTotals more = HAKO_TRY(send_item(*streams_[0], *item));
        fast_sent_ += more;
    }
    return {};
}

void PostcopySender::run(unsigned index) {
    ::pthread_setname_np(::pthread_self(), fmt::format("mig{}", index).c_str());
    if (const auto sent = send_share(index); !sent) {
        stop_.raise(sent.error());
        queue_.close();
    }
}

Outcome<> PostcopySender::send_share(unsigned index) {
    const bool fast = index == 0 && has_fast_lane();
    const MemoryTotals sent = HAKO_TRY(fast ? keep_fast_lane() : send_queue(*streams_[index]));
    Round sum{.round = setup_.round, .last = true};
    {
        const std::lock_guard lock(mutex_);
        sent_ += sent;
        if (--running_ > 0) return {};
        sum.pages = sent_.pages;
        sum.zero_pages = sent_.zero_pages;
    }
    return setup_.done(sum);
}

Outcome<MemoryTotals> PostcopySender::keep_fast_lane() {
    for (;;) {
        const bool over = queue_.wait_for_end(setup_.ping);
        if (auto reason = stop_.reason()) return std::unexpected(std::move(*reason));
        const std::lock_guard lock(fast_mutex_);
        if (over) {
            HAKO_TRY(send_round(*streams_[0], fast_sent_));
            return fast_sent_;
        }
        HAKO_TRY(send_message(*streams_[0], Ping{}, wait()));
    }
}

Outcome<MemoryTotals> PostcopySender::send_queue(Stream& stream) {
    MemoryTotals sent;
    for (auto last = Clock::now();;) {
        // Pages that wait for the limit stay in the queue, where they can still be asked for.
        const std::chrono::nanoseconds hold = setup_.limit.wait_for_some();
        const auto item =
            queue_.next(hold.count() > 0, std::min<std::chrono::nanoseconds>(hold, setup_.ping));
        if (auto reason = stop_.reason()) return std::unexpected(std::move(*reason));
        if (item) {
            const MemoryTotals more = HAKO_TRY(send_item(stream, *item));
            if (!item->asked_for) setup_.limit.take(more.bytes);
            sent += more;
        } else if (queue_.over()) {
            break;
        } else if (Clock::now() - last >= setup_.ping) {
            HAKO_TRY(send_message(stream, Ping{}, wait()));
        } else {
            continue;
        }
        last = Clock::now();
    }
    HAKO_TRY(send_round(stream, sent));
    return sent;
}

Outcome<> PostcopySender::send_round(Stream& stream, const MemoryTotals& sent) {
    return send_message(
        stream,
        Round{.round = setup_.round, .last = true, .pages = sent.pages, .zero_pages = sent.zero_pages},
        wait());
}

Outcome<MemoryTotals> PostcopySender::send_item(Stream& stream, const PageQueue::Item& item) {
    const std::uint64_t address = setup_.memory.layout.regions[item.region].address;
    const std::span<std::byte> host =
        setup_.memory.pages({.region = item.region, .first = item.run.first}, item.run.pages);
    Pages frame;
    std::vector<iovec> parts(2);
    MemoryTotals more;
    for (std::uint64_t page = 0; page < item.run.pages; ++page) {
        std::byte* const content = host.data() + page * kPageSize;
        const bool zero = is_zero_page(content);
        if (frame.runs.empty() || frame.runs.back().zero != zero)
            frame.runs.push_back(
                {.address = address + (item.run.first + page) * kPageSize, .pages = 0, .zero = zero});
        ++frame.runs.back().pages;
        ++(zero ? more.zero_pages : more.pages);
        if (!zero) parts.push_back({.iov_base = content, .iov_len = kPageSize});
    }
    const Blob payload = encode(frame);
    auto header = encode_header(Type::kPages, 0, payload);
    parts[0] = {.iov_base = header.data(), .iov_len = header.size()};
    parts[1] = {.iov_base = const_cast<std::byte*>(payload.data()), .iov_len = payload.size()};
    more.bytes = header.size() + payload.size() + more.pages * kPageSize;
    HAKO_TRY(stream.send(std::span<iovec>(parts), wait()));
    setup_.counters.add(more);
    return more;
}

}  // namespace hako::migration
