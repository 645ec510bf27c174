#include "tools/hako/cli_rng.h"

#include <array>

#include "tools/hako/cli_key_values.h"
#include "tools/hako/cli_rate.h"

namespace hako::cli {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kKeys = {"bandwidth"sv, "bandwidth_burst"sv};
constexpr KeyValueSyntax kSyntax = {.option = "--rng", .keys = kKeys, .flags = {}, .bare = {}};

}  // namespace

Result<std::optional<virtio::rng::Config>> parse_rng(std::string_view text) {
    if (text == "off") return std::nullopt;
    const KeyValues values = HAKO_TRY(KeyValues::parse(kSyntax, text));
    if (values.find("bandwidth") == nullptr)
        return values.refuse_all("bandwidth= is missing: a size a second such as 64K/s, or off");
    virtio::rng::Config rng;
    HAKO_TRY(read_bandwidth(values, rng.limits.bytes));
    return rng;
}

}  // namespace hako::cli
