// All that a descriptor gives.
#pragma once

#include <cstdint>
#include <string>

namespace hako {

/// Appends what `fd` gives to `out`, to its end. 0, or an errno: EFBIG as soon as it is more than `max`
/// bytes.
[[nodiscard]] int read_all(int fd, std::uint64_t max, std::string& out);

}  // namespace hako
