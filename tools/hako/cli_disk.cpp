#include "tools/hako/cli_disk.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <string_view>

#include "tools/hako/cli_key_values.h"
#include "tools/hako/cli_rate.h"

namespace hako::cli {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kKeys = {"path"sv,       "readonly"sv, "serial"sv,    "direct"sv,          "queues"sv,
                              "queue_size"sv, "id"sv,       "bandwidth"sv, "bandwidth_burst"sv, "iops"sv,
                              "iops_burst"sv};
constexpr std::array kFlags = {"readonly"sv};
constexpr std::array kBare = {"path"sv};
constexpr KeyValueSyntax kSyntax = {.option = "--disk", .keys = kKeys, .flags = kFlags, .bare = kBare};

/// virtio 1.3, 5.2.6: VIRTIO_BLK_T_GET_ID answers with 20 bytes.
constexpr std::size_t kMaxSerial = 20;
constexpr std::size_t kMaxId = 64;
constexpr std::uint16_t kMaxQueues = 64;
constexpr std::uint16_t kMinQueueSize = 16;
constexpr std::uint16_t kMaxQueueSize = 1024;

bool printable(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

bool id_characters(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '-' || c == '.';
    });
}

/// What the guest will see as the disk's serial.
const std::string& effective_serial(const virtio::blk::Config& disk) {
    return disk.serial.empty() ? disk.id : disk.serial;
}

Result<virtio::blk::Config> parse_disk(std::string_view text, std::size_t index) {
    const KeyValues values = HAKO_TRY(KeyValues::parse(kSyntax, text));
    virtio::blk::Config disk;
    disk.id = fmt::format("_disk{}", index);
    HAKO_TRY(values.read_text("path", disk.path));
    if (disk.path.empty()) return values.refuse_all("path= is missing: the image file or block device");
    HAKO_TRY(values.read_switch("readonly", disk.readonly));
    if (values.find("direct") != nullptr) {
        bool direct = false;
        HAKO_TRY(values.read_switch("direct", direct));
        disk.direct = direct;
    }
    HAKO_TRY(values.read_number("queues", disk.queues, std::uint16_t{1}, kMaxQueues));
    HAKO_TRY(values.read_number("queue_size", disk.queue_size, kMinQueueSize, kMaxQueueSize));
    if (!std::has_single_bit(disk.queue_size))
        return values.refuse("queue_size",
                             fmt::format("a power of two from {} to {}", kMinQueueSize, kMaxQueueSize));
    HAKO_TRY(read_bandwidth(values, disk.limits.bytes));
    HAKO_TRY(read_operations(values, "iops", disk.limits.operations));
    HAKO_TRY(values.read_text("serial", disk.serial));
    if (disk.serial.size() > kMaxSerial || !printable(disk.serial))
        return values.refuse("serial", fmt::format("at most {} printable ASCII characters", kMaxSerial));
    HAKO_TRY(values.read_text("id", disk.id));
    if (disk.id.size() > kMaxId || !id_characters(disk.id))
        return values.refuse("id", fmt::format("at most {} letters, digits, '.', '_' or '-'", kMaxId));
    if (effective_serial(disk).size() > kMaxSerial)
        return values.refuse_all(
            fmt::format("an id of more than {} characters needs a serial= of its own", kMaxSerial));
    return disk;
}

}  // namespace

Result<std::vector<virtio::blk::Config>> parse_disks(std::span<const std::string> texts) {
    if (texts.size() > kMaxDisks)
        return fail_input("--disk is given {} times: a VM has at most {} disks", texts.size(), kMaxDisks);
    std::vector<virtio::blk::Config> disks;
    for (const std::string& text : texts) {
        const virtio::blk::Config disk = HAKO_TRY(parse_disk(text, disks.size()));
        for (const virtio::blk::Config& other : disks) {
            if (disk.id == other.id)
                return fail_input("--disk {}: the id {} is taken by {}: ids must differ", text, disk.id,
                                  other.path);
            if (effective_serial(disk) == effective_serial(other))
                return fail_input("--disk {}: the serial {} is taken by {}: serials must differ", text,
                                  effective_serial(disk), other.path);
        }
        disks.push_back(disk);
    }
    return disks;
}

}  // namespace hako::cli
