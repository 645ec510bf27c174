#include "tools/hako/cli_fs.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>

#include "tools/hako/cli_key_values.h"
#include "vmm/machine/config.h"

namespace hako::cli {
namespace {

using std::string_view_literals::operator""sv;
using virtio::fs::Config;

constexpr std::array kKeys = {"tag"sv, "socket"sv, "num_queues"sv, "queue_size"sv, "id"sv};
constexpr KeyValueSyntax kSyntax = {.option = "--fs", .keys = kKeys, .flags = {}, .bare = {}};
constexpr std::size_t kMaxId = 64;

bool id_characters(std::string_view text) {
    return std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '-' || c == '.';
    });
}

Result<Config> parse_one(std::string_view text, std::size_t position) {
    const KeyValues values = HAKO_TRY(KeyValues::parse(kSyntax, text));
    Config fs;
    fs.id = fmt::format("_fs{}", position);
    if (values.find("tag") == nullptr || values.find("socket") == nullptr)
        return values.refuse_all(
            "give tag=NAME and socket=PATH: what the guest mounts, and where its daemon listens");
    HAKO_TRY(values.read_text("tag", fs.tag));
    if (fs.tag.empty() || fs.tag.size() > virtio::fs::kMaxTag)
        return values.refuse("tag", fmt::format("1 to {} bytes", virtio::fs::kMaxTag));
    HAKO_TRY(values.read_text("socket", fs.socket));
    if (fs.socket.empty() || fs.socket.size() > virtio::fs::kMaxSocketPath)
        return values.refuse("socket", fmt::format("a path of 1 to {} bytes", virtio::fs::kMaxSocketPath));
    HAKO_TRY(values.read_number("num_queues", fs.queues, std::uint16_t{1}, virtio::fs::kMaxQueues));
    HAKO_TRY(
        values.read_number("queue_size", fs.queue_size, virtio::fs::kMinQueueSize, virtio::kMaxQueueSize));
    if (!std::has_single_bit(fs.queue_size)) return values.refuse("queue_size", "a power of two");
    HAKO_TRY(values.read_text("id", fs.id));
    if (fs.id.size() > kMaxId || !id_characters(fs.id))
        return values.refuse("id", fmt::format("at most {} letters, digits, '.', '_' or '-'", kMaxId));
    return fs;
}

}  // namespace

Result<std::vector<Config>> parse_fs(std::span<const std::string> texts) {
    if (texts.size() > kMaxDevices)
        return fail_input("--fs is given {} times: a VM has at most {} devices", texts.size(), kMaxDevices);
    std::vector<Config> all;
    for (const std::string& text : texts) {
        const Config fs = HAKO_TRY(parse_one(text, all.size()));
        for (const Config& other : all) {
            if (fs.id == other.id)
                return fail_input("--fs {}: the id {} is taken by {}: ids must differ", text, fs.id,
                                  other.tag);
            if (fs.tag == other.tag)
                return fail_input("--fs {}: the tag {} is given twice: tags must differ", text, fs.tag);
            if (fs.socket == other.socket)
                return fail_input("--fs {}: the socket {} is taken by {}: each needs a daemon of its own",
                                  text, fs.socket, other.tag);
        }
        all.push_back(fs);
    }
    return all;
}

}  // namespace hako::cli
