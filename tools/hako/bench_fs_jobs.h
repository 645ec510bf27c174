// The shared directory's jobs, as fio runs them in a guest.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/hako/bench_fio.h"
#include "vmm/base/units.h"

namespace hako::bench {

/// Of the large file, or of the small ones.
struct FsJob {
    std::string_view name;
    std::string_view engine = {};  ///< fio's --ioengine for small files; "": `file`
    FioJob file = {};              ///< of the large one
    bool made_before = false;      ///< the small files are there when it begins
};
std::span<const FsJob> fs_jobs();

/// What stands in the directory that is shared: a large file, a folder of small ones, and in that each of
/// them by its number, as fio names it.
inline constexpr const char* kLargeFile = "large";
inline constexpr const char* kSmallFiles = "small";
std::string small_file(std::uint32_t number);
inline constexpr std::uint64_t kSmallFile = 4 * KiB;

/// fio and its arguments, in a guest that has the directory at `place`; it prints one line. `files`: how many
/// small ones.
std::vector<std::string> fs_words(const FsJob& job, const std::string& place, std::uint32_t seconds,
                                  std::uint32_t files);

}  // namespace hako::bench
