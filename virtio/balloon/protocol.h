// Numbers and layouts of the balloon (virtio 1.3, 5.5). Little-endian, as is the host.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hako::virtio::balloon {

namespace feature {
inline constexpr std::uint64_t kStatistics = std::uint64_t{1} << 1;
inline constexpr std::uint64_t kDeflateOnOom = std::uint64_t{1} << 2;
inline constexpr std::uint64_t kPagePoison = std::uint64_t{1} << 4;
inline constexpr std::uint64_t kPageReporting = std::uint64_t{1} << 5;
}  // namespace feature

/// What a queue is for. Which number it has depends on the features: see queue_roles().
enum class Role : std::uint8_t { kInflate, kDeflate, kStatistics, kReporting };

/// Device configuration (5.5.4).
struct ConfigSpace {
    std::uint32_t num_pages = 0;
    std::uint32_t actual = 0;
    std::uint32_t free_page_hint_cmd_id = 0;
    std::uint32_t poison_val = 0;
};
static_assert(sizeof(ConfigSpace) == 16);

/// A page number in inflate and deflate requests.
using PageNumber = std::uint32_t;

/// One statistic: a tag of 16 bits and a value of 64, without padding (5.5.6.4).
inline constexpr std::size_t kStatisticBytes = 10;

/// Names of the tags, in their order (5.5.6.4; the last six are Linux').
inline constexpr std::array<std::string_view, 16> kStatisticNames = {
    "swap_in",        "swap_out",         "major_faults", "minor_faults",        "free_memory",
    "total_memory",   "available_memory", "disk_caches",  "hugetlb_allocations", "hugetlb_failures",
    "oom_kills",      "alloc_stalls",     "async_scans",  "direct_scans",        "async_reclaims",
    "direct_reclaims"};

}  // namespace hako::virtio::balloon
