// Where a VM's epoch record lies, and whose it is.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "migration/epoch_record.h"
#include "vmm/base/result.h"
#include "vmm/machine/config.h"

namespace hako::migration {

/// Beside its first image that is written to and is a file; nothing: there is none. Disks that move along, by
/// id, are passed over: what lies beside a copy only one side sees, so it proves nothing.
[[nodiscard]] std::optional<std::string> record_path_of(const MachineConfig& config,
                                                        std::span<const std::string> moving = {});

/// Who writes a record, for people.
[[nodiscard]] std::string this_process();

/// The VM runs on its images, whose locks it holds. If there is a record, it is its own from now on: who
/// reclaims a VM that was handed over finds that another has run since.
Result<> claim_record(const MachineConfig& config, const Uuid& vm);

}  // namespace hako::migration
