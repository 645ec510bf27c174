#include "tools/hako/cli_vsock.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "tools/hako/cli_key_values.h"

namespace hako::cli {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kKeys = {"cid"sv, "socket"sv, "id"sv};
constexpr KeyValueSyntax kSyntax = {.option = "--vsock", .keys = kKeys, .flags = {}, .bare = {}};
constexpr std::size_t kMaxId = 64;

bool id_characters(std::string_view text) {
    return std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '-' || c == '.';
    });
}

}  // namespace

Result<virtio::vsock::Config> parse_vsock(std::string_view text) {
    const KeyValues values = HAKO_TRY(KeyValues::parse(kSyntax, text));
    virtio::vsock::Config vsock;
    vsock.id = "_vsock0";
    if (values.find("cid") == nullptr || values.find("socket") == nullptr)
        return values.refuse_all(
            "give cid=N and socket=PATH: the guest's address, and where the host connects");
    HAKO_TRY(values.read_number("cid", vsock.cid, virtio::vsock::kMinCid, virtio::vsock::kMaxCid));
    HAKO_TRY(values.read_text("socket", vsock.socket));
    if (vsock.socket.size() > virtio::vsock::kMaxSocketPath)
        return values.refuse("socket",
                             fmt::format("a path of at most {} bytes", virtio::vsock::kMaxSocketPath));
    HAKO_TRY(values.read_text("id", vsock.id));
    if (vsock.id.size() > kMaxId || !id_characters(vsock.id))
        return values.refuse("id", fmt::format("at most {} letters, digits, '.', '_' or '-'", kMaxId));
    return vsock;
}

}  // namespace hako::cli
