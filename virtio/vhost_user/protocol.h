// vhost-user on the wire. (QEMU, docs/interop/vhost-user.rst)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace hako::virtio::vhost_user {

/// Requests of the front end.
enum class Request : std::uint32_t {
    kGetFeatures = 1,
    kSetFeatures = 2,
    kSetOwner = 3,
    kSetMemTable = 5,
    kSetLogBase = 6,
    kSetVringNum = 8,
    kSetVringAddr = 9,
    kSetVringBase = 10,
    kGetVringBase = 11,
    kSetVringKick = 12,
    kSetVringCall = 13,
    kSetVringErr = 14,
    kGetProtocolFeatures = 15,
    kSetProtocolFeatures = 16,
    kGetQueueNum = 17,
    kSetVringEnable = 18,
    kSetDeviceStateFd = 42,
    kCheckDeviceState = 43,
};

/// The first 12 bytes of each message; numbers are the machine's own.
struct Header {
    std::uint32_t request = 0;
    std::uint32_t flags = 0;
    std::uint32_t size = 0;  ///< of what follows
};
static_assert(sizeof(Header) == 12);

namespace flag {
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint32_t kVersionMask = 3;
inline constexpr std::uint32_t kReply = 1U << 2;
inline constexpr std::uint32_t kNeedReply = 1U << 3;
}  // namespace flag

/// Among the features of VHOST_USER_GET_FEATURES; no driver sees them.
namespace feature {
inline constexpr std::uint64_t kLogAll = std::uint64_t{1} << 26;
inline constexpr std::uint64_t kProtocolFeatures = std::uint64_t{1} << 30;
}  // namespace feature

namespace protocol_feature {
inline constexpr std::uint64_t kMultiQueue = std::uint64_t{1} << 0;
inline constexpr std::uint64_t kLogShmFd = std::uint64_t{1} << 1;
inline constexpr std::uint64_t kReplyAck = std::uint64_t{1} << 3;
inline constexpr std::uint64_t kDeviceState = std::uint64_t{1} << 19;
}  // namespace protocol_feature

/// What hako uses of them. There is no channel for the back end's own requests: a daemon without one asks for
/// nothing, and of virtio-fs only DAX needs it.
inline constexpr std::uint64_t kProtocolFeatures = protocol_feature::kMultiQueue |
                                                   protocol_feature::kLogShmFd | protocol_feature::kReplyAck |
                                                   protocol_feature::kDeviceState;

inline constexpr std::size_t kMaxRegions = 8;

struct MemoryTableRegion {
    std::uint64_t guest_address = 0;
    std::uint64_t size = 0;
    std::uint64_t user_address = 0;
    std::uint64_t file_offset = 0;
};

/// Only as many regions as there are go out.
struct MemoryTable {
    std::uint32_t count = 0;
    std::uint32_t padding = 0;
    std::array<MemoryTableRegion, kMaxRegions> regions{};
};
static_assert(sizeof(MemoryTable) == 8 + kMaxRegions * 32);

struct LogArea {
    std::uint64_t size = 0;
    std::uint64_t offset = 0;
};

struct VringState {
    std::uint32_t index = 0;
    std::uint32_t number = 0;
};

/// With the number of a queue in place of a descriptor.
inline constexpr std::uint64_t kNoFd = 1U << 8;

struct DeviceStateTransfer {
    std::uint32_t direction = 0;  ///< kSave or kLoad
    std::uint32_t phase = 0;      ///< 0: all rings are stopped
};
inline constexpr std::uint32_t kSave = 0;
inline constexpr std::uint32_t kLoad = 1;
/// Of the reply to SET_DEVICE_STATE_FD: the low byte is an error, and this says that no descriptor came.
inline constexpr std::uint64_t kStateError = 0xff;
inline constexpr std::uint64_t kStateNoFd = 1U << 8;
/// Bytes of a daemon's state, at most: a section of a saved state holds it.
inline constexpr std::uint32_t kMaxDeviceState = 15U << 20;

}  // namespace hako::virtio::vhost_user
