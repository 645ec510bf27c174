// What a destination builds a VM from, before any of its memory comes.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/schema/snapshot.h"
#include "api/schema/vm.h"
#include "migration/protocol/messages.h"
#include "vmm/base/result.h"

namespace hako::api {

struct Departing {
    VmConfig config;
    bool running = true;  ///< false: its user had paused it
};

[[nodiscard]] Result<migration::Blob> write_departing(const Departing& vm);
/// From bytes that anybody may have written.
[[nodiscard]] Result<Departing> read_departing(std::span<const std::byte> bytes);

/// Tells each of `given` where its daemon is now.
[[nodiscard]] Result<> give_fs(VmConfig& config, const std::vector<RestoredFsConfig>& given);
/// Puts the vsock's socket at `path`, if one is given.
[[nodiscard]] Result<> give_vsock(VmConfig& config, const std::optional<std::string>& path);
/// Gives interfaces the descriptors that a client names; those that lived of some need new ones.
[[nodiscard]] Result<> give_nets(VmConfig& config, const std::vector<RestoredNetConfig>& given);

}  // namespace hako::api
