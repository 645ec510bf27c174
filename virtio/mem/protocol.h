// Numbers and layouts of the memory device (virtio 1.3, 5.15). Little-endian, as is the host.
#pragma once

#include <array>
#include <cstdint>

namespace hako::virtio::mem {

namespace feature {
/// The driver does not access memory that is not plugged.
inline constexpr std::uint64_t kUnpluggedInaccessible = std::uint64_t{1} << 1;
}  // namespace feature

/// Device configuration (5.15.4). Sizes and addresses are multiples of `block_size`, bytes.
struct ConfigSpace {
    std::uint64_t block_size = 0;
    std::uint16_t node_id = 0;  ///< without VIRTIO_MEM_F_ACPI_PXM it says nothing
    std::array<std::uint16_t, 3> padding{};
    std::uint64_t addr = 0;
    std::uint64_t region_size = 0;
    std::uint64_t usable_region_size = 0;
    std::uint64_t plugged_size = 0;
    std::uint64_t requested_size = 0;
};
static_assert(sizeof(ConfigSpace) == 56);

/// What a driver may ask for (5.15.6).
enum class RequestType : std::uint16_t { kPlug, kUnplug, kUnplugAll, kState };

struct Request {
    RequestType type{};
    std::array<std::uint16_t, 3> padding{};
    std::uint64_t addr = 0;
    std::uint16_t nb_blocks = 0;
    std::array<std::uint16_t, 3> more_padding{};
};
static_assert(sizeof(Request) == 24);

enum class ResponseType : std::uint16_t { kAck, kNack, kBusy, kError };
enum class BlockState : std::uint16_t { kPlugged, kUnplugged, kMixed };

struct Response {
    ResponseType type{};
    std::array<std::uint16_t, 3> padding{};
    BlockState state{};  ///< says something in the answer to kState only
};
static_assert(sizeof(Response) == 10);

}  // namespace hako::virtio::mem
