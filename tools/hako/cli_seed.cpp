#include "tools/hako/cli_seed.h"

#include <array>

#include "tools/hako/cli_key_values.h"

namespace hako::cli {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kKeys = {"user-data"sv, "meta-data"sv, "network-config"sv, "vendor-data"sv};
constexpr std::array kBare = {"user-data"sv, "meta-data"sv, "network-config"sv};
constexpr KeyValueSyntax kSyntax = {.option = "--cloud-init", .keys = kKeys, .flags = {}, .bare = kBare};

Result<> read_path(const KeyValues& values, std::string_view key, std::optional<std::string>& path) {
    if (values.find(key) == nullptr) return {};
    return values.read_text(key, path.emplace());
}

}  // namespace

Result<SeedPaths> parse_seed_paths(std::string_view text) {
    const KeyValues values = HAKO_TRY(KeyValues::parse(kSyntax, text));
    SeedPaths paths;
    HAKO_TRY(values.read_text("user-data", paths.user_data));
    if (paths.user_data.empty()) return values.refuse_all("the user-data file is missing");
    HAKO_TRY(read_path(values, "meta-data", paths.meta_data));
    HAKO_TRY(read_path(values, "network-config", paths.network_config));
    HAKO_TRY(read_path(values, "vendor-data", paths.vendor_data));
    return paths;
}

}  // namespace hako::cli
