// A small FAT file system with long names.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "vmm/seed/file_tree.h"

namespace hako::seed {

inline constexpr std::size_t kMaxFatLabel = 11;

/// The image's bytes, a multiple of 32 KiB. FAT12, or FAT16 beyond 2 MiB; kMaxTotal never asks for FAT32.
/// Everything is read-only and as old as 1980: the same files give the same bytes. `label` is ASCII in
/// capitals.
[[nodiscard]] std::string make_fat(std::string_view label, const FileTree& tree);

}  // namespace hako::seed
