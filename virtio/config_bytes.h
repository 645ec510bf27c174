// A device's configuration space, as the driver reads it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace hako::virtio {

/// Device::read_config() of a space that is laid out as `space` is: what lies beyond its end is zeros.
template <typename Space>
void read_config_bytes(const Space& space, std::uint32_t offset, std::span<std::byte> data) {
    static_assert(std::is_trivially_copyable_v<Space>);
    std::ranges::fill(data, std::byte{0});
    if (offset >= sizeof space) return;
    const auto rest = std::as_bytes(std::span(&space, 1)).subspan(offset);
    std::ranges::copy(rest.first(std::min(rest.size(), data.size())), data.begin());
}

}  // namespace hako::virtio
