// The connections' threads at the destination: mig0, mig1, …
#pragma once

#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "migration/memory/page_receiver.h"
#include "vmm/base/eventfd.h"

namespace hako::migration {

/// One thread a connection; each receives rounds until the last one. Used by one thread.
class ReceiverPool {
  public:
    /// What fails raises `stop`, which also ends the threads: how long the source may be silent is for
    /// whoever has the control connection to judge.
    static Result<std::unique_ptr<ReceiverPool>> start(const ReceiverSetup& setup,
                                                       std::vector<std::unique_ptr<Stream>> streams,
                                                       Stop& stop);
    ~ReceiverPool();
    ReceiverPool(const ReceiverPool&) = delete;
    ReceiverPool& operator=(const ReceiverPool&) = delete;

    /// Waits until the round that `told` ends is in memory, of all connections, and compares.
    Outcome<> finish(const Round& told, const Wait& wait);
    /// The connections, after the last round; this has none then.
    std::vector<std::unique_ptr<Stream>> take_streams();
    void shut_down();

  private:
    ReceiverPool(const ReceiverSetup& setup, std::vector<std::unique_ptr<Stream>> streams, Stop& stop,
                 EventFd event)
        : setup_(setup), streams_(std::move(streams)), stop_(stop), event_(std::move(event)) {}
    void run(unsigned index);
    void end_threads();

    const ReceiverSetup setup_;
    std::vector<std::unique_ptr<Stream>> streams_;
    Stop& stop_;
    EventFd event_;  ///< signalled whenever a connection has finished a round

    std::mutex mutex_;
    std::vector<std::vector<Round>> finished_;  ///< of each connection: rounds that finish() has not seen

    std::vector<std::thread> threads_;
};

}  // namespace hako::migration
