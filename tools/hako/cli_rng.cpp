#include "tools/hako/cli_rng.h"

#include <array>
#include <cstdint>
#include <string>

#include "tools/hako/cli_key_values.h"
#include "vmm/base/units.h"

namespace hako::cli {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kKeys = {"rate"sv, "burst"sv};
constexpr KeyValueSyntax kSyntax = {.option = "--rng", .keys = kKeys, .flags = {}, .bare = {}};

/// A size above 0; nothing otherwise.
std::optional<std::uint64_t> positive_size(std::string_view text) {
    const auto size = parse_size(text);
    return size == 0 ? std::nullopt : size;
}

}  // namespace

Result<std::optional<virtio::rng::Config>> parse_rng(std::string_view text) {
    constexpr std::string_view kPerSecond = "/s";
    if (text == "off") return std::nullopt;
    const KeyValues values = HAKO_TRY(KeyValues::parse(kSyntax, text));
    const std::string* rate = values.find("rate");
    if (rate == nullptr) return values.refuse_all("rate= is missing: a size a second such as 64K/s, or off");
    std::optional<std::uint64_t> bytes;
    if (rate->ends_with(kPerSecond))
        bytes = positive_size(std::string_view(*rate).substr(0, rate->size() - kPerSecond.size()));
    if (!bytes) return values.refuse("rate", "a size a second, at least 1/s, such as 64K/s");
    virtio::rng::Config rng;
    rng.limits.bytes.tokens = *bytes;
    if (const std::string* burst = values.find("burst")) {
        const auto size = positive_size(*burst);
        if (!size) return values.refuse("burst", "a size above 0 such as 1M");
        rng.limits.bytes.burst = *size;
    }
    return rng;
}

}  // namespace hako::cli
