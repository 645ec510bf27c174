#include "tools/hako/cli_cpus.h"

#include <array>

#include "tools/hako/cli_key_values.h"

namespace hako::cli {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kKeys = {"count"sv, "max"sv};
constexpr std::array kBare = {"count"sv};
constexpr KeyValueSyntax kSyntax = {.option = "--cpus", .keys = kKeys, .flags = {}, .bare = kBare};

}  // namespace

Result<CpuConfig> parse_cpus(std::string_view text) {
    const KeyValues values = HAKO_TRY(KeyValues::parse(kSyntax, text));
    CpuConfig cpus;
    HAKO_TRY(values.read_number("count", cpus.count, 1u, kMaxVcpus));
    HAKO_TRY(values.read_number("max", cpus.max, cpus.count, kMaxVcpus));
    return cpus;
}

}  // namespace hako::cli
