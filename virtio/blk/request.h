// A block request as the guest wrote it: parsed out of a descriptor chain, and checked.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string_view>

#include "virtio/blk/protocol.h"
#include "virtio/queue.h"

namespace hako::virtio::blk {

/// A chain that cannot even be answered.
enum class RequestFault : std::uint8_t {
    kNoHeader,  ///< fewer than 16 readable bytes
    kNoStatus,  ///< no writable byte
};
[[nodiscard]] std::string_view fault_text(RequestFault fault);

/// The parts of a request that are not data. The data are what is left in the chain.
struct Request {
    RequestType type{};  ///< may be a number that is none of the enum's
    std::uint64_t sector = 0;
    Segment status;  ///< the byte that takes the RequestStatus
};

/// Takes header and status off `chain`, however they are cut into buffers (virtio 1.3, 2.7.4.3).
/// After that chain.readable() is what a write writes, chain.writable() what a read fills.
[[nodiscard]] std::expected<Request, RequestFault> take_request(Chain& chain);

/// A byte range of the disk, from sectors that the guest gave. Nothing if `bytes` is no multiple of 512 or
/// the range ends beyond `capacity` (sectors).
struct DiskRange {
    std::uint64_t offset = 0;  ///< bytes
    std::uint64_t length = 0;  ///< bytes
};
[[nodiscard]] std::optional<DiskRange> disk_range(std::uint64_t sector, std::uint64_t bytes,
                                                  std::uint64_t capacity);

/// The one range of a discard or write-zeroes request, or the status that refuses it (virtio 1.3, 5.2.6.2).
struct RangeRequest {
    DiskRange range;
    bool unmap = false;
};
[[nodiscard]] std::expected<RangeRequest, RequestStatus> take_range(Chain& chain, RequestType type,
                                                                    std::uint64_t capacity);

}  // namespace hako::virtio::blk
