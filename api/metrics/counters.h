// What vm.counters tells: numbers of each device, by the names that Cloud Hypervisor's clients know.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "vmm/machine/machine.h"

namespace hako::api {

/// By device, then by counter. Control thread.
using Counters = std::map<std::string, std::map<std::string, std::uint64_t>>;

[[nodiscard]] Counters counters(const Machine& machine);

}  // namespace hako::api
