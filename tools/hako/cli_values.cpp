#include "tools/hako/cli_values.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include "tools/hako/cli_number.h"

namespace hako::cli {

Result<const std::string*> single(const char* name, const App::Values& values) {
    if (values.empty()) return nullptr;
    if (values.size() > 1)
        return fail_input("{} is given {} times ({}): give it once", name, values.size(),
                          fmt::join(values, ", "));
    if (values.front().empty()) return fail_input("{}: the value is empty", name);
    return &values.front();
}

Result<> read_text(const char* name, const App::Values& values, std::string& text) {
    if (const std::string* value = HAKO_TRY(single(name, values))) text = *value;
    return {};
}

Result<> read_number(const char* name, const App::Values& values, std::uint64_t min, std::uint64_t max,
                     std::uint64_t& number) {
    const std::string* value = HAKO_TRY(single(name, values));
    if (value == nullptr) return {};
    const auto parsed = parse_number(*value, min, max);
    if (!parsed) return fail_input("{} {}: must be a whole number from {} to {}", name, *value, min, max);
    number = *parsed;
    return {};
}

}  // namespace hako::cli
