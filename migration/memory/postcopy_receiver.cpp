#include "migration/memory/postcopy_receiver.h"

#include <poll.h>
#include <pthread.h>

#include <utility>

#include "migration/memory/page_queue.h"
#include "migration/transport/channel.h"

namespace hako::migration {
Result<std::unique_ptr<PostcopyReceiver>> PostcopyReceiver::start(
    const PostcopyReceiverSetup& setup, std::vector<std::unique_ptr<Stream>> streams, Stop& stop) {
    std::unique_ptr<PostcopyReceiver> receiver(
        new PostcopyReceiver(setup, std::move(streams), stop, HAKO_TRY(EventFd::create())));
    for (unsigned index = 0; index < receiver->streams_.size(); ++index)
        receiver->threads_.emplace_back(&PostcopyReceiver::receive, receiver.get(), index);
    receiver->threads_.emplace_back(&PostcopyReceiver::ask, receiver.get());
    return receiver;
}

PostcopyReceiver::~PostcopyReceiver() {
    stop_.raise({Event::kCancelled, Error(Fault::kState, "the migration is over")});
    shut_down();
    for (std::thread& thread : threads_)
        thread.join();
}

void PostcopyReceiver::shut_down() {
    for (const auto& stream : streams_)
        stream->shut_down();
}

Outcome<> PostcopyReceiver::finish(const Round& told, const Wait& wait) {
    for (;;) {
        {
            const std::lock_guard lock(mutex_);
            if (receiving_ == 0) {
                sum_.round = setup_.round;
                sum_.last = true;
                if (sum_ == told) return {};
                return fail_as(Event::kGarbage, "{} pages and {} zero ones were sent, {} and {} came",
                               told.pages, told.zero_pages, sum_.pages, sum_.zero_pages);
            }
        }
        HAKO_TRY(wait_ready(event_.fd(), POLLIN, wait));
        event_.take();
    }
}

void PostcopyReceiver::ask() {
    ::pthread_setname_np(::pthread_self(), "migf");
    if (const auto asked = ask_all(); !asked) stop_.raise(asked.error());
}

Outcome<> PostcopyReceiver::ask_all() {
    for (const PagePlace& page : setup_.missing.waited_for())
        HAKO_TRY(ask_for(page));
    for (;;) {
        if (const std::optional<PagePlace> page = HAKO_TRY(setup_.missing.take_fault())) {
            HAKO_TRY(ask_for(*page));
            continue;
        }
        const Outcome<> ready =
            wait_ready(setup_.trap.fd(), POLLIN, {.silence = setup_.silence, .stop = &stop_});
        if (ready) continue;
        if (ready.error().event != Event::kTimeout || stop_.reason()) return ready;
        // A request, or its answer, that is lost while all else seems well.
        if (setup_.missing.longest_wait() >= setup_.silence)
            return fail_as(Event::kTimeout, "a page that was asked for does not come");
    }
}

Outcome<> PostcopyReceiver::ask_for(const PagePlace& page) {
    const std::uint64_t base = setup_.memory.layout.regions[page.region].address;
    return setup_.ask({.address = base + page.first * kPageSize, .pages = 1});
}

void PostcopyReceiver::receive(unsigned index) {
    ::pthread_setname_np(::pthread_self(), fmt::format("mig{}", index).c_str());
    const auto round = receive_all(*streams_[index]);
    if (!round) {
        stop_.raise(round.error());
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        sum_.pages += round->pages;
        sum_.zero_pages += round->zero_pages;
        --receiving_;
    }
    event_.signal();
}

Outcome<Round> PostcopyReceiver::receive_all(Stream& stream) {
    const Wait wait{.silence = setup_.silence, .stop = &stop_};
    MemoryTotals came;
    Blob content(PageQueue::kBackgroundPages * kPageSize);
    for (;;) {
        const Frame frame = HAKO_TRY(receive_frame(stream, wait));
        if (frame.type == Type::kPing) {
            HAKO_TRY(open_frame<Ping>(frame));
            continue;
        }
        if (frame.type == Type::kPages) {
            const auto pages = HAKO_TRY(open_frame<Pages>(frame));
            const MemoryTotals more = HAKO_TRY(receive_pages(stream, pages, content, wait));
            came.pages += more.pages;
            came.zero_pages += more.zero_pages;
            continue;
        }
        const auto end = HAKO_TRY(open_frame<Round>(frame));
        if (end !=
            Round{.round = setup_.round, .last = true, .pages = came.pages, .zero_pages = came.zero_pages})
            return fail_as(Event::kGarbage, "{} pages and {} zero ones were sent, {} and {} came", end.pages,
                           end.zero_pages, came.pages, came.zero_pages);
        return end;
    }
}

Outcome<PagePlace> PostcopyReceiver::check(const Run& run) const {
    const auto place = find_pages(setup_.memory.layout, run.address, run.pages);
    if (!place || run.pages == 0)
        return fail_as(Event::kGarbage, "{} pages at {:#x}: not the guest's memory", run.pages, run.address);
    if (!setup_.missing.missing(*place, run.pages))
        return fail_as(Event::kGarbage, "{} pages at {:#x} came, and not all of them are missing", run.pages,
                       run.address);
    return *place;
}

/// Into a buffer first: what is put into its place is whole.
Outcome<MemoryTotals> PostcopyReceiver::receive_pages(Stream& stream, const Pages& pages, Blob& content,
                                                      const Wait& wait) {
    MemoryTotals more{.bytes = kHeaderBytes + pages.runs.size() * kRunBytes};
    for (const Run& run : pages.runs) {
        HAKO_TRY(check(run));
        (run.zero ? more.zero_pages : more.pages) += run.pages;
    }
    if (pages.runs.empty() || more.pages * kPageSize > content.size())
        return fail_as(Event::kGarbage, "PAGES with {} runs and {} pages, when the guest runs here",
                       pages.runs.size(), more.pages);
    const std::span<std::byte> came = std::span(content).first(more.pages * kPageSize);
    HAKO_TRY(stream.receive(came, wait));
    std::span<const std::byte> left = came;
    for (const Run& run : pages.runs) {
        const PagePlace place = *find_pages(setup_.memory.layout, run.address, run.pages);
        const std::size_t bytes = run.zero ? 0 : run.pages * kPageSize;
        HAKO_TRY(setup_.missing.put(place, run.pages, left.first(bytes)));
        left = left.subspan(bytes);
    }
    more.bytes += more.pages * kPageSize;
    setup_.counters.add(more);
    return more;
}

}  // namespace hako::migration
