// Postcopy: the connections' threads at the source, mig0, mig1, …
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "migration/memory/bandwidth.h"
#include "migration/memory/counters.h"
#include "migration/memory/memory_view.h"
#include "migration/memory/page_queue.h"
#include "migration/protocol/messages.h"
#include "migration/transport/stream.h"

namespace hako::migration {

struct PostcopySenderSetup {
    const MemoryView& memory;  ///< nobody writes it any more
    BandwidthLimit& limit;     ///< of what nobody asked for
    MemoryCounters& counters;
    std::uint32_t round = 0;
    milliseconds silence{0};  ///< of a peer that takes nothing
    milliseconds ping{0};     ///< said on a connection that has nothing else to say
    /// Called once, on one of the threads, when all has gone: what went.
    std::function<Outcome<>(const Round&)> done;
};

/// Sends pages, each once, those that are asked for first. The first of several connections carries nothing
/// else, so that they do not queue behind others. When all have gone, ROUND ends each connection.
class PostcopySender {
  public:
    /// `streams`: data connections that have joined. What fails raises `stop`.
    static std::unique_ptr<PostcopySender> start(const PostcopySenderSetup& setup, PageBits missing,
                                                 std::vector<std::unique_ptr<Stream>> streams, Stop& stop);
    ~PostcopySender();
    PostcopySender(const PostcopySender&) = delete;
    PostcopySender& operator=(const PostcopySender&) = delete;

    /// A PAGE_REQUEST of the peer.
    /// Where there is a connection for it, the pages go at once: a thread that had to wake up first would
    /// take as long as all the rest.
    Outcome<> ask(const PageRequest& request);
    /// Ends the connections.
    void shut_down();

  private:
    PostcopySender(const PostcopySenderSetup& setup, PageBits missing,
                   std::vector<std::unique_ptr<Stream>> streams, Stop& stop)
        : setup_(setup),
          queue_(std::move(missing)),
          streams_(std::move(streams)),
          stop_(stop),
          running_(streams_.size()) {}
    void run(unsigned index);
    Outcome<> send_share(unsigned index);
    [[nodiscard]] Wait wait() const { return {.silence = setup_.silence, .stop = &stop_}; }
    [[nodiscard]] bool has_fast_lane() const { return streams_.size() > 1; }
    /// What is asked for, on the first connection.
    Outcome<> send_asked();
    /// The rest of what is said there, and ROUND.
    Outcome<MemoryTotals> keep_fast_lane();
    Outcome<MemoryTotals> send_queue(Stream& stream);
    Outcome<> send_round(Stream& stream, const MemoryTotals& sent);
    Outcome<MemoryTotals> send_item(Stream& stream, const PageQueue::Item& item);

    const PostcopySenderSetup setup_;
    PageQueue queue_;
    std::vector<std::unique_ptr<Stream>> streams_;
    Stop& stop_;

    std::mutex fast_mutex_;  ///< who sends on the first of several connections
    MemoryTotals fast_sent_;

    std::mutex mutex_;
    std::size_t running_;
    MemoryTotals sent_;

    std::vector<std::thread> threads_;
};

}  // namespace hako::migration
