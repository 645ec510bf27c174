// The content of one file into another, without a way through this process where that can be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "vmm/base/result.h"

namespace hako {

/// Writes all of `data` at `offset`. Errors are Fault::kHost.
Result<> write_at(int to, std::span<const std::byte> data, std::uint64_t offset);

/// `to` shares the blocks of `from` (FICLONE); false: the file system does not do that, or they are on two.
[[nodiscard]] bool share_blocks(int from, int to);

/// Copies `size` bytes of data to the same place; holes stay holes, so `to` must be all zeros. `from` may be
/// a block device. `go_on` is asked between pieces of a few MiB; its error ends the copy. Errors of either
/// file are Fault::kHost.
Result<> copy_data(int from, int to, std::uint64_t size, const std::function<Result<>()>& go_on);

}  // namespace hako
