// Where a VM's epoch record lies, and whose it is.
#pragma once

#include <optional>
#include <string>

#include "migration/epoch_record.h"
#include "vmm/base/result.h"
#include "vmm/machine/config.h"

namespace hako::migration {

/// Beside its first image that is written to and is a file; nothing: there is none.
[[nodiscard]] std::optional<std::string> record_path_of(const MachineConfig& config);

/// Who writes a record, for people.
[[nodiscard]] std::string this_process();

/// The VM runs on its images, whose locks it holds. If there is a record, it is its own from now on: who
/// reclaims a VM that was handed over finds that another has run since.
Result<> claim_record(const MachineConfig& config, const Uuid& vm);

}  // namespace hako::migration
