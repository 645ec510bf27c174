#include "tools/hako/cli_memory.h"

#include <fmt/core.h>

#include <array>
#include <optional>
#include <string>

#include "tools/hako/cli_key_values.h"
#include "virtio/mem/config.h"
#include "vmm/base/units.h"
#include "vmm/memory/layout.h"

namespace hako::cli {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kKeys = {"size"sv,      "hotplug"sv, "hotplug_method"sv, "hotplugged"sv,
                              "hugepages"sv, "thp"sv,     "prefault"sv};
constexpr std::array kFlags = {"hugepages"sv, "prefault"sv};
constexpr std::array kBare = {"size"sv};
constexpr KeyValueSyntax kSyntax = {.option = "--memory", .keys = kKeys, .flags = kFlags, .bare = kBare};

/// x86's two sizes of hugetlbfs pages.
constexpr std::array kHugepageSizes = {2 * MiB, 1 * GiB};

Result<> read_size(const KeyValues& values, MemoryConfig& memory) {
    const std::string* text = values.find("size");
    if (text == nullptr) return {};
    const auto size = parse_size(*text);
    if (!size) return values.refuse("size", "a size such as 512M or 2G");
    if (*size < kMinMemory || *size > kMaxMemory || !is_aligned(*size, MiB))
        return values.refuse("size", fmt::format("a multiple of 1 MiB from {} to {}", format_size(kMinMemory),
                                                 format_size(kMaxMemory)));
    memory.size = *size;
    return {};
}

Result<> read_room(const KeyValues& values, MemoryConfig& memory) {
    const std::string* text = values.find("hotplug");
    if (text == nullptr) return {};
    const auto room = parse_size(*text);
    if (!room || *room > kMaxMemory - memory.size || !is_aligned(*room, layout::kMemoryUnit))
        return values.refuse("hotplug",
                             fmt::format("a multiple of {}, with size no more than {}",
                                         format_size(layout::kMemoryUnit), format_size(kMaxMemory)));
    memory.room = *room;
    return {};
}

Result<> read_method(const KeyValues& values, MemoryConfig& memory) {
    if (const std::string* text = values.find("hotplug_method")) {
        if (*text != "acpi" && *text != "virtio-mem")
            return values.refuse("hotplug_method", "acpi or virtio-mem");
        if (*text == "virtio-mem") memory.growth = MemoryGrowth::kVirtioMem;
    }
    const std::string* text = values.find("hotplugged");
    if (text == nullptr) return {};
    const auto bytes = parse_size(*text);
    if (!bytes || memory.growth != MemoryGrowth::kVirtioMem)
        return values.refuse("hotplugged", "a size, with hotplug_method=virtio-mem");
    memory.plugged = *bytes;
    return {};
}

Result<> read_hugepages(const KeyValues& values, MemoryConfig& memory) {
    const std::string* text = values.find("hugepages");
    if (text == nullptr || *text == "off") return {};
    memory.hugepages = true;
    if (*text == "on") return {};
    const auto size = parse_size(*text);
    for (const std::uint64_t allowed : kHugepageSizes)
        if (size == allowed) memory.hugepage_size = allowed;
    if (memory.hugepage_size == 0) return values.refuse("hugepages", "on, off, 2M or 1G");
    if (!is_aligned(memory.size, memory.hugepage_size))
        return values.refuse_all(fmt::format("{} of memory is no multiple of the page size {}",
                                             format_size(memory.size), format_size(memory.hugepage_size)));
    return {};
}

}  // namespace

Result<MemoryConfig> parse_memory(std::string_view text) {
    const KeyValues values = HAKO_TRY(KeyValues::parse(kSyntax, text));
    MemoryConfig memory;
    HAKO_TRY(read_size(values, memory));
    HAKO_TRY(read_room(values, memory));
    HAKO_TRY(read_method(values, memory));
    HAKO_TRY(read_hugepages(values, memory));
    HAKO_TRY(values.read_switch("thp", memory.thp));
    HAKO_TRY(values.read_switch("prefault", memory.prefault));
    if (memory.hugepages) {
        if (values.find("thp") != nullptr && memory.thp)
            return values.refuse_all(
                "thp=on (transparent huge pages) does not go with hugepages: choose one");
        memory.thp = false;
    }
    HAKO_TRY_WRAP(virtio::mem::check(memory), "--memory {}", text);
    return memory;
}

}  // namespace hako::cli
