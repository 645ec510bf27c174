// The statistics queue: the driver's answer to a question is also its next buffer.
#pragma once

#include "virtio/balloon/queue_worker.h"
#include "virtio/balloon/statistics.h"

namespace hako::virtio::balloon {

/// A buffer with the driver's values stays in the available ring until fresh ones are wanted: so nothing is
/// in flight for a pause or a reset to wait for. (virtio 1.3, 5.5.6.3)
class StatsQueue final : public QueueWorker {
  public:
    StatsQueue(const QueueSetup& setup, Queue queue, Statistics& statistics)
        : QueueWorker(setup, std::move(queue)), statistics_(statistics) {}

    /// io thread: the driver is asked at the next occasion.
    void ask();

  private:
    void serve() override;
    void read();

    Statistics& statistics_;
    bool wanted_ = false;
    bool has_read_ = false;  ///< the buffer that is the next in the available ring
};

}  // namespace hako::virtio::balloon
