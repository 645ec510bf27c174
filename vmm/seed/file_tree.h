// Files by their paths: checked, and sorted into the folders that the paths speak of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/units.h"
#include "vmm/seed/file.h"
#include "vmm/seed/format.h"

namespace hako::seed {

inline constexpr std::uint64_t kMaxFile = 2 * MiB;   ///< bytes of one file
inline constexpr std::uint64_t kMaxTotal = 8 * MiB;  ///< bytes of all files of a disk
inline constexpr std::size_t kMaxFiles = 1024;       ///< of a disk
inline constexpr std::size_t kMaxName = 255;         ///< bytes of one component of a path
inline constexpr std::size_t kMaxDepth = 8;          ///< components of a path (ECMA-119, 6.8.2.1)
inline constexpr std::uint32_t kMaxMode = 0777;
inline constexpr std::uint32_t kDefaultMode = 0444;

/// Looks at `files`, which outlive it.
class FileTree {
  public:
    struct Node {
        std::string name;
        const File* file = nullptr;  ///< null: a folder
        std::size_t parent = 0;
        std::vector<std::size_t> children;  ///< in the order of their names' bytes
    };

    /// Refuses, naming the path, what `format` cannot hold or what would not stay on the disk: paths that are
    /// absolute, leave the root, have an empty component or one of more than kMaxName bytes, are no UTF-8,
    /// hold control characters or are there twice; files that are folders, too; more than the limits above.
    static Result<FileTree> create(std::span<const File> files, Format format);

    [[nodiscard]] const Node& operator[](std::size_t index) const { return nodes_[index]; }
    /// The root is the first; a folder comes before what is in it.
    [[nodiscard]] const std::vector<Node>& nodes() const { return nodes_; }

  private:
    Result<> add(const File& file, Format format);

    std::vector<Node> nodes_;
};

}  // namespace hako::seed
