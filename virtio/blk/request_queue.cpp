#include "virtio/blk/request_queue.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>

#include <algorithm>
#include <cerrno>

#include "vmm/base/units.h"

namespace hako::virtio::blk {
namespace {

/// Buffers beyond a request's data that a chain may have: its header and status, however they are cut.
constexpr std::size_t kSpareSegments = 64;
constexpr std::uint8_t kMaxRetries = 8;

/// So many requests in flight end one soon after the other, and each time the queue looks for new ones
/// anyway.
constexpr std::uint16_t kDeep = 4;

/// What write-zeroes writes where the file can do no better. In .bss: it costs no memory until then.
constexpr std::size_t kZeroesSize = 64 * KiB;
alignas(kPageSize) std::array<std::byte, kZeroesSize> g_zeroes;

bool is_unsupported(std::int32_t result) {
    return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENODEV;
}

}  // namespace

RequestQueue::RequestQueue(const QueueSetup& setup, Queue queue)
    : setup_(setup),
      queue_(std::move(queue)),
      chain_(setup.backend.max_segments + kSpareSegments),
      slots_(queue_.size()),
      long_vectors_(std::size_t{queue_.size()} * setup.backend.max_segments),
      doorbell_(setup.engine, *this) {
    for (std::size_t head = 0; head < slots_.size(); ++head) {
        slots_[head].queue = this;
        slots_[head].head = static_cast<std::uint16_t>(head);
    }
}

void RequestQueue::start(int kick, bool paused) {
    mode_ = paused ? Mode::kPaused : Mode::kRunning;
    doorbell_.start(kick);
    setup_.engine.schedule(*this);
}

void RequestQueue::drain(std::latch& idle) {
    mode_ = Mode::kPaused;
    idle_ = &idle;
    setup_.backend.throttle.leave(*this);
    setup_.engine.schedule(*this);
}

void RequestQueue::resume() {
    mode_ = Mode::kRunning;
    setup_.engine.schedule(*this);
}

void RequestQueue::stop(std::latch& idle) {
    mode_ = Mode::kStopped;
    idle_ = &idle;
    doorbell_.stop();
    setup_.backend.throttle.leave(*this);
    setup_.engine.schedule(*this);
}

void RequestQueue::run_batch() {
    if (mode_ == Mode::kRunning && !setup_.backend.broken) pop_requests();
    round_known_ = false;
    progress_ = false;
    queue_.publish();
    if (queue_.needs_interrupt()) {
        if (const int interrupt = setup_.hooks.queue_interrupt(setup_.index); interrupt >= 0) {
            setup_.engine.signal(interrupt);
            setup_.metrics.interrupts.add(1);
        }
    }
    if (idle_ == nullptr || queue_.in_flight() != 0) return;
    if (mode_ == Mode::kStopped && doorbell_.active()) return;
    setup_.engine.submit_now();  // the interrupt above is out before anyone is told that all is quiet
    std::exchange(idle_, nullptr)->count_down();
}

void RequestQueue::pop_requests() {
    Throttle& throttle = setup_.backend.throttle;
    queue_.disable_notifications();
    for (std::uint16_t left = queue_.size();;) {
        for (; left > 0; --left) {
            // No doorbell is needed while it waits: the throttle wakes it.
            if (throttle.limited() && queue_.has_available() &&
                !throttle.admit(*this, setup_.metrics.throttled))
                return;
            const auto popped = queue_.pop(chain_);
            if (!popped) return break_down(virtio::fault_text(popped.error()));
            if (!*popped) break;
            begin(chain_.head());
            if (setup_.backend.broken) return;
        }
        if (left == 0) {
            // A full queue's worth: the engine's other devices come first, then we go on.
            setup_.engine.schedule(*this);
            return;
        }
        // A doorbell costs the guest an exit, and is not needed while others' ends bring us back here; when
        // nothing has happened for a moment it is asked for.
        if (progress_ && queue_.in_flight() >= kDeep) return setup_.engine.schedule_soon(*this);
        if (!queue_.enable_notifications()) return;
        queue_.disable_notifications();
    }
}

void RequestQueue::break_down(std::string_view why) {
    setup_.backend.broken = true;
    setup_.hooks.needs_reset(why);
}

void RequestQueue::begin(std::uint16_t head) {
    Slot& slot = slots_[head];
    progress_ = true;
    slot.retries = 0;
    slot.buffered = false;
    slot.answer_length = 1;
    slot.durable = !setup_.flush_negotiated || !setup_.backend.writeback.load(std::memory_order_relaxed);

    const auto request = take_request(chain_);
    if (!request) {
        queue_.forget(head);  // there is no way to answer it
        break_down(fault_text(request.error()));
        return;
    }
    setup_.backend.throttle.take(0);
    slot.begun = round_time();
    slot.status = request->status;
    slot.type = request->type;
    if (setup_.backend.gone) return finish(slot, RequestStatus::kIoError);
    switch (request->type) {
        case RequestType::kIn:
            slot.answer_length = chain_.writable_bytes() + 1;
            begin_transfer(slot, *request, Step::kRead, chain_.writable(), chain_.writable_bytes());
            return;
        case RequestType::kOut:
            if (setup_.backend.readonly) return finish(slot, RequestStatus::kIoError);
            begin_transfer(slot, *request, Step::kWrite, chain_.readable(), chain_.readable_bytes());
            return;
        case RequestType::kFlush:
            slot.step = Step::kFlush;
            submit(slot);
            return;
        case RequestType::kGetId:
            answer_id(slot);
            return;
        case RequestType::kDiscard:
        case RequestType::kWriteZeroes:
            begin_range(slot);
            return;
    }
    finish(slot, RequestStatus::kUnsupported);
}

void RequestQueue::begin_transfer(Slot& slot, const Request& request, Step step,
                                  std::span<const Segment> data, std::uint32_t bytes) {
    slot.step = step;
    const auto range =
        disk_range(request.sector, bytes, setup_.backend.capacity.load(std::memory_order_relaxed));
    if (!range || data.size() > setup_.backend.max_segments) return finish(slot, RequestStatus::kIoError);
    slot.offset = range->offset;
    slot.remaining = range->length;
    if (data.empty()) return finish(slot, RequestStatus::kOk);

    setup_.backend.throttle.take_bytes(bytes);
    slot.vectors = data.size() <= kInlineVectors
                       ? slot.inline_vectors.data()
                       : long_vectors_.get() + std::size_t{slot.head} * setup_.backend.max_segments;
    slot.vector_count = static_cast<std::uint32_t>(data.size());
    std::ranges::transform(data, slot.vectors, [](const Segment& segment) {
        return iovec{.iov_base = segment.host, .iov_len = segment.length};
    });
    submit(slot);
}

void RequestQueue::begin_range(Slot& slot) {
    Backend& backend = setup_.backend;
    const bool discard = slot.type == RequestType::kDiscard;
    slot.step = discard ? Step::kDiscard : Step::kZeroRange;
    if (backend.readonly) return finish(slot, RequestStatus::kIoError);
    const auto request = take_range(chain_, slot.type, backend.capacity.load(std::memory_order_relaxed));
    if (!request) return finish(slot, request.error());
    slot.offset = request->range.offset;
    slot.remaining = request->range.length;
    // A discard is a hint: where the file cannot take it, doing nothing is right.
    if (slot.remaining == 0 || (discard && !backend.can_discard)) return finish(slot, RequestStatus::kOk);
    if (!discard) {
        if (request->unmap && backend.can_punch_hole) {
            slot.step = Step::kPunchHole;
        } else if (!backend.can_zero_range) {
            slot.step = backend.can_punch_hole ? Step::kPunchHole : Step::kWriteZeroes;
        }
    }
    submit(slot);
}

void RequestQueue::answer_id(Slot& slot) {
    std::span<const std::byte> left = setup_.backend.serial;
    if (chain_.writable_bytes() < left.size()) return finish(slot, RequestStatus::kIoError);
    for (const Segment& segment : chain_.writable()) {
        const auto count = std::min<std::size_t>(segment.length, left.size());
        std::ranges::copy(left.first(count), segment.host);
        mark_dirty(segment.host, count);
        left = left.subspan(count);
    }
    slot.answer_length = static_cast<std::uint32_t>(kSerialLength);
    if (chain_.writable_bytes() == kSerialLength) ++slot.answer_length;
    finish(slot, RequestStatus::kOk);
}

void RequestQueue::submit(Slot& slot) {
    const Backend& backend = setup_.backend;
    const auto range = [&](int mode) {
        io_uring_sqe& entry = setup_.engine.prepare(&slot);
        io_uring_prep_fallocate(&entry, backend.buffered.fd, FALLOC_FL_KEEP_SIZE | mode,
                                static_cast<off_t>(slot.offset), static_cast<off_t>(slot.remaining));
        entry.flags |= backend.buffered.sqe_flags();
    };
    switch (slot.step) {
        case Step::kRead:
        case Step::kWrite:
            return submit_transfer(slot);
        case Step::kWriteZeroes:
            return submit_zeroes(slot);
        case Step::kDiscard:
        case Step::kPunchHole:
            return range(FALLOC_FL_PUNCH_HOLE);
        case Step::kZeroRange:
            return range(FALLOC_FL_ZERO_RANGE);
        case Step::kFlush:
        case Step::kSync: {
            // Either descriptor reaches the whole file: a flush covers direct and buffered writes.
            io_uring_sqe& entry = setup_.engine.prepare(&slot);
            io_uring_prep_fsync(&entry, backend.buffered.fd, IORING_FSYNC_DATASYNC);
            entry.flags |= backend.buffered.sqe_flags();
            return;
        }
    }
}

void RequestQueue::submit_transfer(Slot& slot) {
    const Backend& backend = setup_.backend;
    const io::FileRef& file = !slot.buffered && fits_direct(slot) ? backend.direct : backend.buffered;
    io_uring_sqe& entry = setup_.engine.prepare(&slot);
    if (slot.step == Step::kRead) {
        io_uring_prep_readv(&entry, file.fd, slot.vectors, slot.vector_count, slot.offset);
    } else {
        io_uring_prep_writev2(&entry, file.fd, slot.vectors, slot.vector_count, slot.offset,
                              slot.durable ? RWF_DSYNC : 0);
    }
    entry.flags |= file.sqe_flags();
}

void RequestQueue::submit_zeroes(Slot& slot) {
    slot.vectors = slot.inline_vectors.data();
    slot.vector_count = 0;
    std::uint64_t left = slot.remaining;
    for (iovec& vector : slot.inline_vectors) {
        if (left == 0) break;
        vector = {.iov_base = g_zeroes.data(), .iov_len = std::min<std::uint64_t>(left, kZeroesSize)};
        left -= vector.iov_len;
        ++slot.vector_count;
    }
    // Else a guest would go around its limit by these.
    setup_.backend.throttle.take_bytes(slot.remaining - left);
    submit_transfer(slot);
}

bool RequestQueue::fits_direct(const Slot& slot) const {
    const Backend& backend = setup_.backend;
    if (!backend.has_direct) return false;
    std::uint64_t addresses = 0;
    std::uint64_t lengths = slot.offset;
    for (const iovec& vector : std::span(slot.vectors, slot.vector_count)) {
        addresses |= reinterpret_cast<std::uintptr_t>(vector.iov_base);
        lengths |= vector.iov_len;
    }
    return is_aligned(addresses, backend.alignment.memory) && is_aligned(lengths, backend.alignment.offset);
}

void RequestQueue::completed(Slot& slot, std::int32_t result) {
    setup_.engine.schedule(*this);
    if (setup_.backend.dirty != nullptr) mark_written(slot, result);
    switch (slot.step) {
        case Step::kRead:
        case Step::kWrite:
        case Step::kWriteZeroes:
            if (result > 0) return transferred(slot, static_cast<std::uint32_t>(result));
            // 0 bytes, too: the file ends before the disk does, since somebody cut it.
            if (!try_again(slot, result)) finish(slot, RequestStatus::kIoError);
            return;
        case Step::kFlush:
        case Step::kSync:
            if (result < 0 && try_again(slot, result)) return;
            return finish(slot, result < 0 ? RequestStatus::kIoError : RequestStatus::kOk);
        case Step::kDiscard:
        case Step::kZeroRange:
        case Step::kPunchHole:
            return ranged(slot, result);
    }
}

/// What a copy of the disk has to take again. Of what failed, any part may be on the disk.
void RequestQueue::mark_written(const Slot& slot, std::int32_t result) {
    switch (slot.step) {
        case Step::kRead:
        case Step::kFlush:
        case Step::kSync:
            return;
        case Step::kWrite:
        case Step::kWriteZeroes: {
            const std::uint64_t written = result > 0 ? static_cast<std::uint64_t>(result) : slot.remaining;
            return setup_.backend.dirty->mark(slot.offset, std::min(written, slot.remaining));
        }
        case Step::kDiscard:
        case Step::kZeroRange:
        case Step::kPunchHole:
            return setup_.backend.dirty->mark(slot.offset, slot.remaining);
    }
}

void RequestQueue::transferred(Slot& slot, std::uint32_t bytes) {
    slot.retries = 0;
    slot.offset += bytes;
    slot.remaining -= std::min<std::uint64_t>(bytes, slot.remaining);
    if (slot.step == Step::kWriteZeroes) {
        if (slot.remaining > 0) return submit(slot);
        return finish(slot, RequestStatus::kOk);
    }
    (slot.step == Step::kRead ? setup_.metrics.read_bytes : setup_.metrics.written_bytes).add(bytes);
    std::uint64_t done = bytes;
    while (done > 0 && slot.vector_count > 0) {
        iovec& vector = *slot.vectors;
        const auto count = std::min<std::uint64_t>(done, vector.iov_len);
        auto* host = static_cast<std::byte*>(vector.iov_base);
        if (slot.step == Step::kRead) mark_dirty(host, count);
        done -= count;
        vector = {.iov_base = host + count, .iov_len = vector.iov_len - count};
        if (vector.iov_len > 0) break;
        ++slot.vectors;
        --slot.vector_count;
    }
    if (slot.vector_count > 0) return submit(slot);
    finish(slot, RequestStatus::kOk);
}

void RequestQueue::ranged(Slot& slot, std::int32_t result) {
    Backend& backend = setup_.backend;
    if (result >= 0) {
        if (slot.durable && slot.step != Step::kDiscard) return next_step(slot, Step::kSync);
        return finish(slot, RequestStatus::kOk);
    }
    if (result == -EINTR || result == -EAGAIN) {
        if (!try_again(slot, result)) finish(slot, RequestStatus::kIoError);
        return;
    }
    const bool unsupported = is_unsupported(result);
    // EINVAL: not for a range aligned like this one.
    if (!unsupported && result != -EINVAL) return finish(slot, RequestStatus::kIoError);
    if (slot.step == Step::kDiscard) {
        if (unsupported) backend.can_discard = false;
        return finish(slot, RequestStatus::kOk);
    }
    if (slot.step == Step::kPunchHole) {
        if (unsupported) backend.can_punch_hole = false;
        return next_step(slot, Step::kWriteZeroes);
    }
    if (unsupported) backend.can_zero_range = false;
    next_step(slot, backend.can_punch_hole ? Step::kPunchHole : Step::kWriteZeroes);
}

bool RequestQueue::try_again(Slot& slot, std::int32_t result) {
    if (result == -EINVAL && setup_.backend.has_direct && !slot.buffered) {
        slot.buffered = true;  // direct I/O wants more than it told: the page cache takes anything
    } else if ((result != -EINTR && result != -EAGAIN) || ++slot.retries > kMaxRetries) {
        return false;
    }
    submit(slot);
    return true;
}

void RequestQueue::next_step(Slot& slot, Step step) {
    slot.step = step;
    slot.retries = 0;
    submit(slot);
}

void RequestQueue::finish(Slot& slot, RequestStatus status) {
    *slot.status.host = static_cast<std::byte>(status);
    setup_.memory.mark_dirty(slot.status.address, 1);
    const bool good = status == RequestStatus::kOk;
    queue_.push_used(slot.head, good ? slot.answer_length : 1);
    progress_ = true;
    if (!good) setup_.metrics.errors.add(1);
    setup_.metrics.latency.add(round_time() - slot.begun);
    switch (slot.type) {
        case RequestType::kIn:
            return setup_.metrics.reads.add(1);
        case RequestType::kOut:
            return setup_.metrics.writes.add(1);
        case RequestType::kFlush:
            return setup_.metrics.flushes.add(1);
        case RequestType::kDiscard:
            return setup_.metrics.discards.add(1);
        case RequestType::kWriteZeroes:
            return setup_.metrics.write_zeroes.add(1);
        case RequestType::kGetId:
            return;
    }
}

io::Time RequestQueue::round_time() {
    if (!round_known_) round_ = setup_.backend.now();
    round_known_ = true;
    return round_;
}

void RequestQueue::mark_dirty(const std::byte* host, std::uint64_t length) {
    for (const MemoryRegion& region : setup_.memory.regions()) {
        const auto offset =
            reinterpret_cast<std::uintptr_t>(host) - reinterpret_cast<std::uintptr_t>(region.host);
        if (offset < region.size) setup_.memory.mark_dirty(region.base + offset, length);
    }
}

}  // namespace hako::virtio::blk
