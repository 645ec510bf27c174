// From a snapshot's memory file into guest memory.
#pragma once

#include <span>
#include <string>

#include "migration/snapshot/memory_file.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::migration {

/// Opens a memory file and checks that it has `size` bytes.
Result<Fd> open_memory_file(const std::string& path, std::uint64_t size);

/// Copies the file's data into `memory`, which is all zeros yet, and holds each page against its checksum.
/// `path`: for what is said when one is wrong.
Result<> read_memory(const Fd& file, const std::string& path, const PageChecksums& checksums,
                     GuestMemory& memory);

}  // namespace hako::migration
