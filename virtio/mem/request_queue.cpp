#include "virtio/mem/request_queue.h"

#include <algorithm>
#include <span>

#include "virtio/mem/piece.h"

namespace hako::virtio::mem {
namespace {

constexpr Response of(ResponseType type) {
    return {.type = type, .padding = {}, .state = {}};
}

}  // namespace

void RequestQueue::serve() {
    queue_.disable_notifications();
    for (std::uint16_t left = queue_.size();;) {
        for (; left > 0; --left) {
            const auto popped = queue_.pop(chain_);
            if (!popped) return break_down(fault_text(popped.error()));
            if (!*popped) break;
            if (!take_request()) {
                queue_.unpop(chain_.head());
                return setup_.engine.schedule(*this);
            }
        }
        if (left == 0) return setup_.engine.schedule(*this);
        if (!queue_.enable_notifications()) return;
        queue_.disable_notifications();
    }
}

/// False: there is more to do for it.
bool RequestQueue::take_request() {
    std::optional<Response> response;
    if (populating_) {
        response = populate_more();
    } else {
        Request request;
        // A shorter one says nothing that could be done.
        response = chain_.take_readable(std::as_writable_bytes(std::span(&request, 1)))
                       ? answer(request)
                       : of(ResponseType::kError);
    }
    if (!response) return false;
    respond(*response);
    return true;
}

std::optional<Response> RequestQueue::answer(const Request& request) {
    if (request.type == RequestType::kUnplugAll) return unplug_all();
    const std::optional<Range> range = range_of(request);
    if (!range) return of(ResponseType::kError);
    switch (request.type) {
        case RequestType::kPlug:
            return plug(*range);
        case RequestType::kUnplug:
            return unplug(*range);
        case RequestType::kState:
            return state_of(*range);
        case RequestType::kUnplugAll:
            break;
    }
    return of(ResponseType::kError);
}

/// All of the region is usable.
std::optional<RequestQueue::Range> RequestQueue::range_of(const Request& request) const {
    const std::uint64_t size = region_.blocks.block_size();
    const std::uint64_t address = region_.address.value;
    if (request.nb_blocks == 0 || request.addr < address || !is_aligned(request.addr - address, size))
        return std::nullopt;
    const std::uint64_t first = (request.addr - address) / size;
    if (first >= region_.blocks.count() || request.nb_blocks > region_.blocks.count() - first)
        return std::nullopt;
    return Range{.first = first, .count = request.nb_blocks};
}

std::optional<Response> RequestQueue::plug(const Range& range) {
    if (region_.blocks.plugged(range.first, range.count) != 0) return of(ResponseType::kError);
    const std::uint64_t requested = region_.requested.load();
    const std::uint64_t plugged = region_.blocks.plugged();
    if (plugged > requested || range.count * region_.blocks.block_size() > requested - plugged)
        return of(ResponseType::kNack);
    region_.sweeper.drop(range.first, range.count);
    if (!region_.populate) return finish_plug(range);
    populating_ = range;
    populated_ = 0;
    return populate_more();
}

std::optional<Response> RequestQueue::populate_more() {
    const Range range = *populating_;
    const std::uint64_t size = region_.blocks.block_size();
    const std::uint64_t count = std::min(range.count - populated_, blocks_at_once(size));
    const GuestAddress from = region_.address + (range.first + populated_) * size;
    if (!setup_.memory.populate(from, count * size)) {
        populating_.reset();
        region_.sweeper.add(range.first, range.count);
        return of(ResponseType::kBusy);
    }
    populated_ += count;
    if (populated_ < range.count) return std::nullopt;
    populating_.reset();
    return finish_plug(range);
}

Response RequestQueue::finish_plug(const Range& range) {
    region_.blocks.set(range.first, range.count, true);
    // What is in them counts from now on, whatever others have of it; before, it was nobody's.
    const std::uint64_t size = region_.blocks.block_size();
    setup_.memory.mark_dirty(region_.address + range.first * size, range.count * size);
    return of(ResponseType::kAck);
}

Response RequestQueue::unplug(const Range& range) {
    if (region_.blocks.plugged(range.first, range.count) != range.count) return of(ResponseType::kError);
    region_.blocks.set(range.first, range.count, false);
    region_.sweeper.add(range.first, range.count);
    return of(ResponseType::kAck);
}

Response RequestQueue::unplug_all() {
    region_.sweeper.add_all(true);
    region_.blocks.set(0, region_.blocks.count(), false);
    return of(ResponseType::kAck);
}

Response RequestQueue::state_of(const Range& range) const {
    Response response = of(ResponseType::kAck);
    const std::uint64_t plugged = region_.blocks.plugged(range.first, range.count);
    response.state = plugged == 0             ? BlockState::kUnplugged
                     : plugged == range.count ? BlockState::kPlugged
                                              : BlockState::kMixed;
    return response;
}

void RequestQueue::respond(const Response& response) {
    setup_.metrics.requests.add(1);
    if (response.type == ResponseType::kError) setup_.metrics.errors.add(1);
    if (response.type == ResponseType::kNack || response.type == ResponseType::kBusy)
        setup_.metrics.refused.add(1);
    const auto bytes = std::as_bytes(std::span(&response, 1));
    const std::uint32_t done = chain_.write(setup_.memory, bytes);
    // What was asked for is done; who leaves no room for the answer does not hear of it.
    if (done < bytes.size()) setup_.metrics.errors.add(1);
    queue_.push_used(chain_.head(), done);
}

}  // namespace hako::virtio::mem
