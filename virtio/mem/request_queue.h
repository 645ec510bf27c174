// The queue by which the driver plugs and unplugs blocks.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

#include "virtio/mem/metrics.h"
#include "virtio/mem/protocol.h"
#include "virtio/mem/sweeper.h"
#include "virtio/prompt_worker.h"

namespace hako::virtio::mem {

/// What requests are about. All of it outlives the queue.
struct Region {
    GuestAddress address;
    PluggedBlocks& blocks;
    const std::atomic<std::uint64_t>& requested;  ///< bytes
    Sweeper& sweeper;
    bool populate = false;
};

/// Each request is answered in the moment in which it is taken, but for one that plugs blocks which are to be
/// populated: that stays in the available ring until all of them are. Nothing of it is saved, and no block
/// counts as plugged before.
class RequestQueue final : public PromptWorker<DeviceMetrics> {
  public:
    RequestQueue(const PromptSetup<DeviceMetrics>& setup, Queue queue, const Region& region)
        : PromptWorker(setup, std::move(queue)), region_(region) {}

  private:
    struct Range {
        std::uint64_t first = 0;
        std::uint64_t count = 0;
    };

    void serve() override;
    bool take_request();
    [[nodiscard]] std::optional<Response> answer(const Request& request);
    [[nodiscard]] std::optional<Range> range_of(const Request& request) const;
    [[nodiscard]] std::optional<Response> plug(const Range& range);
    [[nodiscard]] std::optional<Response> populate_more();
    [[nodiscard]] Response finish_plug(const Range& range);
    [[nodiscard]] Response unplug(const Range& range);
    [[nodiscard]] Response unplug_all();
    [[nodiscard]] Response state_of(const Range& range) const;
    void respond(const Response& response);

    const Region region_;
    std::optional<Range> populating_;  ///< of the request that is the next in the available ring
    std::uint64_t populated_ = 0;      ///< blocks of it
};

}  // namespace hako::virtio::mem
