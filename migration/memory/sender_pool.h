// The connections' threads at the source: mig0, mig1, …
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "migration/memory/page_sender.h"
#include "vmm/base/eventfd.h"

namespace hako::migration {

/// One thread a connection, each with its own share of memory. Used by one thread.
class SenderPool {
  public:
    /// `streams`: data connections that have joined. What fails raises `stop`.
    static Result<std::unique_ptr<SenderPool>> start(const SenderSetup& setup,
                                                     std::vector<std::unique_ptr<Stream>> streams,
                                                     milliseconds silence, Stop& stop);
    ~SenderPool();
    SenderPool(const SenderPool&) = delete;
    SenderPool& operator=(const SenderPool&) = delete;

    /// All connections begin a round. Until it is over `bits` are theirs; then those of what went are clear.
    void begin(std::uint32_t round, bool last, PageBits& bits);
    /// Waits for its end: what was sent. A timeout of `wait` is a Event::kTimeout, and the round goes on.
    Outcome<MemoryTotals> finish(const Wait& wait);
    /// The connections, after a round; this has none then.
    std::vector<std::unique_ptr<Stream>> take_streams();
    /// Ends the connections.
    void shut_down();

  private:
    struct Work {
        std::uint64_t number = 0;  ///< of the order, 0: none yet
        std::uint32_t round = 0;
        bool last = false;
        PageBits* bits = nullptr;
    };

    SenderPool(const SenderSetup& setup, std::vector<std::unique_ptr<Stream>> streams, milliseconds silence,
               Stop& stop, EventFd done)
        : setup_(setup),
          streams_(std::move(streams)),
          silence_(silence),
          stop_(stop),
          done_(std::move(done)) {}
    void run(unsigned index);
    void end_threads();

    const SenderSetup setup_;
    std::vector<std::unique_ptr<Stream>> streams_;
    const milliseconds silence_;
    Stop& stop_;
    EventFd done_;  ///< signalled when all have finished

    std::mutex mutex_;
    std::condition_variable changed_;
    Work work_;
    bool quit_ = false;
    unsigned left_ = 0;
    MemoryTotals sent_;

    std::vector<std::thread> threads_;
};

}  // namespace hako::migration
