// Numbers and layouts of virtio-blk (virtio 1.3, 5.2). Little-endian, as is the host.
#pragma once

#include <cstdint>

namespace hako::virtio::blk {

inline constexpr std::uint64_t kSectorSize =
    512;  ///< the unit of capacity and request sectors, whatever blk_size

namespace feature {
inline constexpr std::uint64_t kSegMax = std::uint64_t{1} << 2;
inline constexpr std::uint64_t kReadOnly = std::uint64_t{1} << 5;
inline constexpr std::uint64_t kBlkSize = std::uint64_t{1} << 6;
inline constexpr std::uint64_t kFlush = std::uint64_t{1} << 9;
inline constexpr std::uint64_t kTopology = std::uint64_t{1} << 10;
inline constexpr std::uint64_t kConfigWce = std::uint64_t{1} << 11;
inline constexpr std::uint64_t kMultiQueue = std::uint64_t{1} << 12;
inline constexpr std::uint64_t kDiscard = std::uint64_t{1} << 13;
inline constexpr std::uint64_t kWriteZeroes = std::uint64_t{1} << 14;
}  // namespace feature

enum class RequestType : std::uint32_t {
    kIn = 0,
    kOut = 1,
    kFlush = 4,
    kGetId = 8,
    kDiscard = 11,
    kWriteZeroes = 13,
};

enum class RequestStatus : std::uint8_t {
    kOk = 0,
    kIoError = 1,
    kUnsupported = 2,
};

/// struct virtio_blk_req without its data and status.
struct RequestHeader {
    std::uint32_t type;
    std::uint32_t reserved;
    std::uint64_t sector;
};
static_assert(sizeof(RequestHeader) == 16);

/// struct virtio_blk_discard_write_zeroes.
struct RangeSegment {
    std::uint64_t sector;
    std::uint32_t sectors;
    std::uint32_t flags;
};
static_assert(sizeof(RangeSegment) == 16);
inline constexpr std::uint32_t kRangeUnmap = 1;

/// struct virtio_blk_config up to the fields hako offers.
struct __attribute__((packed)) ConfigSpace {
    std::uint64_t capacity;
    std::uint32_t size_max;
    std::uint32_t seg_max;
    std::uint16_t cylinders;
    std::uint8_t heads;
    std::uint8_t sectors;
    std::uint32_t blk_size;
    std::uint8_t physical_block_exp;
    std::uint8_t alignment_offset;
    std::uint16_t min_io_size;
    std::uint32_t opt_io_size;
    std::uint8_t writeback;
    std::uint8_t unused0;
    std::uint16_t num_queues;
    std::uint32_t max_discard_sectors;
    std::uint32_t max_discard_seg;
    std::uint32_t discard_sector_alignment;
    std::uint32_t max_write_zeroes_sectors;
    std::uint32_t max_write_zeroes_seg;
    std::uint8_t write_zeroes_may_unmap;
    std::uint8_t unused1[3];
};
static_assert(sizeof(ConfigSpace) == 60);
inline constexpr std::uint32_t kWritebackOffset = 32;

/// Longest range of one discard or write-zeroes request hako offers, sectors (2 GiB), and how many ranges.
inline constexpr std::uint32_t kMaxRangeSectors = 1U << 22;
inline constexpr std::uint32_t kMaxRanges = 1;

}  // namespace hako::virtio::blk
