// Small files of /proc and /sys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace hako::doctor {

/// The first line of a file, without its end; nothing if it cannot be read.
std::optional<std::string> read_line(const std::string& path);
/// The number that is all of the first line of a file.
std::optional<std::int64_t> read_number(const std::string& path);

/// The word in square brackets of "always [madvise] never", as files in /sys mark a choice; the text if there
/// is none.
std::string chosen_word(const std::string& text);

/// True if this process has the capability (CAP_…, capabilities(7)) in effect.
bool has_capability(unsigned capability);

}  // namespace hako::doctor
