// The host's end of a guest's tap.
#pragma once

#include <cstdint>
#include <string>

#include "vmm/base/result.h"

namespace hako::bench {

/// Gives an interface its IPv4 address, with a network of four, and switches it on.
Result<> set_address(const std::string& interface, const std::string& address);

/// What went over an interface.
enum class Direction { kFromGuest, kToGuest };
enum class Quantity { kBytes, kPackets };
Result<std::uint64_t> passed(const std::string& interface, Direction direction, Quantity quantity);

}  // namespace hako::bench
