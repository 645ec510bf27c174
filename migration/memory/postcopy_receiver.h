// Postcopy: the threads at the destination. mig0, mig1, … put pages in their places, migf asks for those that
// somebody waits for.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "migration/memory/counters.h"
#include "migration/memory/missing_pages.h"
#include "migration/protocol/messages.h"
#include "migration/transport/stream.h"
#include "vmm/base/eventfd.h"

namespace hako::migration {

struct PostcopyReceiverSetup {
    const MemoryView& memory;
    PageTrap& trap;
    MissingPages& missing;
    MemoryCounters& counters;
    std::uint32_t round = 0;
    milliseconds silence{0};  ///< of a source that neither sends pages nor says PING
    /// Sends a PAGE_REQUEST. The fault thread's.
    std::function<Outcome<>(const PageRequest&)> ask;
};

class PostcopyReceiver {
  public:
    /// Asks for all pages that somebody waits for already. What fails raises `stop`, which also ends the
    /// threads.
    static Result<std::unique_ptr<PostcopyReceiver>> start(const PostcopyReceiverSetup& setup,
                                                           std::vector<std::unique_ptr<Stream>> streams,
                                                           Stop& stop);
    ~PostcopyReceiver();
    PostcopyReceiver(const PostcopyReceiver&) = delete;
    PostcopyReceiver& operator=(const PostcopyReceiver&) = delete;

    /// Waits until ROUND came on all connections, and compares with what it says of all.
    Outcome<> finish(const Round& told, const Wait& wait);
    void shut_down();

  private:
    PostcopyReceiver(const PostcopyReceiverSetup& setup, std::vector<std::unique_ptr<Stream>> streams,
                     Stop& stop, EventFd event)
        : setup_(setup),
          streams_(std::move(streams)),
          stop_(stop),
          event_(std::move(event)),
          receiving_(streams_.size()) {}
    void receive(unsigned index);
    void ask();
    Outcome<> ask_all();
    Outcome<> ask_for(const PagePlace& page);
    Outcome<Round> receive_all(Stream& stream);
    Outcome<MemoryTotals> receive_pages(Stream& stream, const Pages& pages, Blob& content, const Wait& wait);
    [[nodiscard]] Outcome<PagePlace> check(const Run& run) const;

    const PostcopyReceiverSetup setup_;
    std::vector<std::unique_ptr<Stream>> streams_;
    Stop& stop_;
    EventFd event_;  ///< signalled whenever a connection is done

    std::mutex mutex_;
    std::size_t receiving_;
    Round sum_;

    std::vector<std::thread> threads_;
};

}  // namespace hako::migration
