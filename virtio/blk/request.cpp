#include "virtio/blk/request.h"

#include <span>

namespace hako::virtio::blk {

std::string_view fault_text(RequestFault fault) {
    switch (fault) {
        case RequestFault::kNoHeader:
            return "a block request is shorter than its header";
        case RequestFault::kNoStatus:
            return "a block request has no room for its status";
    }
    return "unknown";
}

std::expected<Request, RequestFault> take_request(Chain& chain) {
    RequestHeader header{};
    if (!chain.take_readable(std::as_writable_bytes(std::span(&header, 1))))
        return std::unexpected(RequestFault::kNoHeader);
    const auto status = chain.take_last_writable();
    if (!status) return std::unexpected(RequestFault::kNoStatus);
    return Request{.type = static_cast<RequestType>(header.type), .sector = header.sector, .status = *status};
}

std::optional<DiskRange> disk_range(std::uint64_t sector, std::uint64_t bytes, std::uint64_t capacity) {
    if (bytes % kSectorSize != 0) return std::nullopt;
    if (sector > capacity || bytes / kSectorSize > capacity - sector) return std::nullopt;
    return DiskRange{.offset = sector * kSectorSize, .length = bytes};
}

std::expected<RangeRequest, RequestStatus> take_range(Chain& chain, RequestType type,
                                                      std::uint64_t capacity) {
    RangeSegment segment{};
    if (chain.readable_bytes() != sizeof segment ||
        !chain.take_readable(std::as_writable_bytes(std::span(&segment, 1))))
        return std::unexpected(RequestStatus::kIoError);
    const bool unmap = (segment.flags & kRangeUnmap) != 0;
    if ((segment.flags & ~kRangeUnmap) != 0 || (unmap && type == RequestType::kDiscard))
        return std::unexpected(RequestStatus::kUnsupported);
    if (segment.sectors > kMaxRangeSectors) return std::unexpected(RequestStatus::kIoError);
    const auto range = disk_range(segment.sector, std::uint64_t{segment.sectors} * kSectorSize, capacity);
    if (!range) return std::unexpected(RequestStatus::kIoError);
    return RangeRequest{.range = *range, .unmap = unmap};
}

}  // namespace hako::virtio::blk
