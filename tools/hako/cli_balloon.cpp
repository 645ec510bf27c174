#include "tools/hako/cli_balloon.h"

#include <array>

#include "tools/hako/cli_key_values.h"
#include "vmm/base/units.h"

namespace hako::cli {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kKeys = {"size"sv, "deflate_on_oom"sv, "free_page_reporting"sv};
constexpr std::array kFlags = {"deflate_on_oom"sv, "free_page_reporting"sv};
constexpr std::array kBare = {"size"sv};
constexpr KeyValueSyntax kSyntax = {.option = "--balloon", .keys = kKeys, .flags = kFlags, .bare = kBare};

}  // namespace

Result<virtio::balloon::Config> parse_balloon(std::string_view text) {
    const KeyValues values = HAKO_TRY(KeyValues::parse(kSyntax, text));
    virtio::balloon::Config balloon;
    if (const std::string* const size = values.find("size")) {
        const auto bytes = parse_size(*size);
        if (!bytes || !is_aligned(*bytes, virtio::balloon::kBalloonPage))
            return values.refuse("size", "a size such as 256M, a multiple of 4K");
        balloon.size = *bytes;
    }
    HAKO_TRY(values.read_switch("deflate_on_oom", balloon.deflate_on_oom));
    HAKO_TRY(values.read_switch("free_page_reporting", balloon.free_page_reporting));
    return balloon;
}

}  // namespace hako::cli
