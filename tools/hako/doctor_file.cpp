#include "tools/hako/doctor_file.h"

#include <charconv>
#include <fstream>
#include <string_view>

namespace hako::doctor {

std::optional<std::string> read_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line)) return std::nullopt;
    return line;
}

std::optional<std::int64_t> read_number(const std::string& path) {
    const auto line = read_line(path);
    if (!line) return std::nullopt;
    std::int64_t number = 0;
    const char* end = line->data() + line->size();
    const auto [rest, error] = std::from_chars(line->data(), end, number);
    if (error != std::errc() || rest != end) return std::nullopt;
    return number;
}

std::string chosen_word(const std::string& text) {
    const std::size_t open = text.find('[');
    const std::size_t close = text.find(']', open == std::string::npos ? 0 : open);
    if (open == std::string::npos || close == std::string::npos) return text;
    return text.substr(open + 1, close - open - 1);
}

bool has_capability(unsigned capability) {
    constexpr std::string_view kField = "CapEff:\t";
    std::ifstream file("/proc/self/status");
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with(kField)) continue;
        std::uint64_t bits = 0;
        std::from_chars(line.data() + kField.size(), line.data() + line.size(), bits, 16);
        return (bits >> capability & 1) != 0;
    }
    return false;
}

}  // namespace hako::doctor
