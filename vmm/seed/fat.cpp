#include "vmm/seed/fat.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "vmm/base/units.h"
#include "vmm/seed/bytes.h"
#include "vmm/seed/fat_layout.h"
#include "vmm/seed/hash.h"
#include "vmm/seed/short_names.h"
#include "vmm/seed/utf8.h"

namespace hako::seed {
namespace {

using namespace fat;

constexpr std::size_t kBytes = 512;  ///< of a sector, and of a cluster: files are small
constexpr std::size_t kFats = 2;
constexpr std::uint8_t kHardDisk = 0xf8;
constexpr std::size_t kTrack = 32;
constexpr std::size_t kTracks = 2;
/// A whole number of cylinders, and of pages.
constexpr std::size_t kGranularity = kTrack * kTracks;
constexpr std::size_t kMinRootEntries = 512;
constexpr std::uint64_t kFirstDate = 1U << 5 | 1U;  ///< 1 January 1980

std::size_t sectors(std::size_t bytes) {
    return (bytes + kBytes - 1) / kBytes;
}

std::string padded(std::string_view text, std::size_t length) {
    std::string out(text.substr(0, length));
    out.resize(length, ' ');
    return out;
}

std::string short_entry(std::string_view name, std::uint8_t attributes, std::size_t cluster,
                        std::size_t size) {
    std::string out(name);
    out += static_cast<char>(attributes);
    out.resize(kEntry);
    constexpr std::size_t kCreatedOn = 16;
    constexpr std::size_t kReadOn = 18;
    constexpr std::size_t kWrittenOn = 24;
    for (const std::size_t date : {kCreatedOn, kReadOn, kWrittenOn})
        store_le(out, date, kFirstDate, 2);
    store_le(out, kFirstCluster, cluster, 2);
    store_le(out, kFileSize, size, 4);
    return out;
}

/// Ties a long name to its short one.
std::uint8_t checksum(std::string_view short_name) {
    std::uint8_t sum = 0;
    for (const char c : short_name)
        sum = static_cast<std::uint8_t>((sum & 1U) << 7 | sum >> 1) + static_cast<std::uint8_t>(c);
    return sum;
}

/// The pieces of a long name, the last one first.
std::string long_entries(std::string_view name, std::string_view short_name) {
    const std::u16string units = to_utf16(name).value_or(u"_");
    const std::size_t pieces = (units.size() + kUnits.size() - 1) / kUnits.size();
    std::string out;
    for (std::size_t piece = pieces; piece-- > 0;) {
        std::string entry(kEntry, '\0');
        entry[0] = static_cast<char>((piece + 1) | (piece + 1 == pieces ? kLastPiece : 0));
        entry[kAttributes] = static_cast<char>(kLongName);
        entry[kChecksum] = static_cast<char>(checksum(short_name));
        for (std::size_t i = 0; i < kUnits.size(); ++i) {
            const std::size_t at = piece * kUnits.size() + i;
            // A zero ends a name that does not fill its entries; ones fill the rest.
            const unsigned unit = at < units.size() ? units[at] : at == units.size() ? 0U : 0xffffU;
            store_le(entry, kUnits[i], unit, 2);
        }
        out += entry;
    }
    return out;
}

class Writer {
  public:
    Writer(std::string_view label, const FileTree& tree)
        : label_(label), tree_(tree), short_names_(tree.nodes().size()), clusters_(tree.nodes().size()) {}

    std::string write();

  private:
    void name_all();
    void place_all();
    [[nodiscard]] std::string folder_bytes(std::size_t folder) const;
    [[nodiscard]] std::string boot_sector(std::uint32_t volume_id) const;
    [[nodiscard]] std::string allocation_table() const;
    [[nodiscard]] std::size_t length(std::size_t node) const;
    [[nodiscard]] bool is_fat16() const { return cluster_count_ >= kFat16Clusters; }

    const std::string label_;
    const FileTree& tree_;
    std::vector<std::string> short_names_;
    std::vector<std::size_t> clusters_;  ///< the first of each node; 0: none
    std::size_t used_clusters_ = 0;
    std::size_t cluster_count_ = 0;
    std::size_t fat_sectors_ = 0;
    std::size_t root_entries_ = 0;
    std::size_t total_sectors_ = 0;
};

void Writer::name_all() {
    for (const FileTree::Node& folder : tree_.nodes()) {
        ShortNames names('~');
        // Those that are short already keep their names.
        for (const bool is_short : {true, false}) {
            for (const std::size_t child : folder.children) {
                if (ShortNames::is_short(tree_[child].name) != is_short) continue;
                const ShortName name = names.take(tree_[child].name);
                short_names_[child] = padded(name.base, 8) + padded(name.extension, 3);
            }
        }
    }
}

std::string Writer::folder_bytes(std::size_t folder) const {
    std::string out;
    if (folder == 0) {
        out += short_entry(padded(label_, kShortName), kLabel, 0, 0);
    } else {
        // The root's cluster is told as 0.
        out += short_entry(padded(".", kShortName), kFolder, clusters_[folder], 0);
        out += short_entry(padded("..", kShortName), kFolder, clusters_[tree_[folder].parent], 0);
    }
    for (const std::size_t child : tree_[folder].children) {
        const FileTree::Node& node = tree_[child];
        const std::string& short_name = short_names_[child];
        if (!ShortNames::is_short(node.name)) out += long_entries(node.name, short_name);
        out += node.file != nullptr ? short_entry(short_name, kReadOnly | kArchive, clusters_[child],
                                                  node.file->content.size())
                                    : short_entry(short_name, kFolder, clusters_[child], 0);
    }
    return out;
}

std::size_t Writer::length(std::size_t node) const {
    return tree_[node].file != nullptr ? tree_[node].file->content.size() : folder_bytes(node).size();
}

/// Lays files and folders out one after the other, then the parts of the disk around them.
void Writer::place_all() {
    std::size_t next = kFirstDataCluster;
    for (std::size_t node = 1; node < tree_.nodes().size(); ++node) {
        const std::size_t count = sectors(length(node));
        clusters_[node] = count == 0 ? 0 : next;
        next += count;
    }
    used_clusters_ = next - kFirstDataCluster;
    const std::size_t root = folder_bytes(0).size() / kEntry;
    root_entries_ = std::max(kMinRootEntries, sectors(root * kEntry) * (kBytes / kEntry));

    // Away from the number where FAT12 ends: implementations differ by a few.
    std::size_t wanted = used_clusters_;
    if (wanted + 2 * kGranularity >= kFat16Clusters) wanted = std::max(wanted, kFat16Clusters + kGranularity);
    const bool wide = wanted >= kFat16Clusters;
    const std::size_t most = wanted + kGranularity + kFirstDataCluster;
    fat_sectors_ = sectors(wide ? most * 2 : (most * 3 + 1) / 2);
    const std::size_t before = 1 + kFats * fat_sectors_ + root_entries_ * kEntry / kBytes;
    total_sectors_ = align_up(before + wanted + 1, kGranularity);
    cluster_count_ = total_sectors_ - before;
}

std::string Writer::boot_sector(std::uint32_t volume_id) const {
    std::string out(kBytes, '\0');
    out.replace(0, kBytesPerSector, "\xeb\x3c\x90HAKO    ");
    store_le(out, kBytesPerSector, kBytes, 2);
    store_le(out, kSectorsPerCluster, 1, 1);
    store_le(out, kReservedSectors, 1, 2);
    store_le(out, kFatCount, kFats, 1);
    store_le(out, kRootEntries, root_entries_, 2);
    const bool large = total_sectors_ > 0xffff;
    store_le(out, kSectors16, large ? 0 : total_sectors_, 2);
    store_le(out, kMedia, kHardDisk, 1);
    store_le(out, kFatSectors, fat_sectors_, 2);
    store_le(out, kSectorsPerTrack, kTrack, 2);
    store_le(out, kHeads, kTracks, 2);
    store_le(out, kSectors32, large ? total_sectors_ : 0, 4);
    store_le(out, kDrive, 0x80, 1);
    store_le(out, kExtended, 0x29, 1);
    store_le(out, kVolumeId, volume_id, 4);
    out.replace(kVolumeLabel, kMaxFatLabel, padded(label_, kMaxFatLabel));
    out.replace(kTypeText, 8, padded(is_fat16() ? "FAT16" : "FAT12", 8));
    store_le(out, kSignature, 0xaa55, 2);
    return out;
}

std::string Writer::allocation_table() const {
    std::string out(fat_sectors_ * kBytes, '\0');
    const auto set = [&](std::size_t cluster, std::size_t next) {
        if (is_fat16()) return store_le(out, cluster * 2, next, 2);
        // Two entries share three bytes.
        const std::size_t at = cluster * 3 / 2;
        const unsigned shared = load_le16(out, at);
        store_le(out, at, cluster % 2 == 0 ? (shared & 0xf000U) | next : (shared & 0x000fU) | next << 4, 2);
    };
    const std::size_t last = is_fat16() ? 0xffff : 0xfff;
    set(0, (last & ~std::size_t{0xff}) | kHardDisk);
    set(1, last);
    for (std::size_t node = 1; node < tree_.nodes().size(); ++node) {
        const std::size_t count = sectors(length(node));
        for (std::size_t i = 0; i < count; ++i)
            set(clusters_[node] + i, i + 1 < count ? clusters_[node] + i + 1 : last);
    }
    return out;
}

std::string Writer::write() {
    name_all();
    place_all();
    const std::string table = allocation_table();
    const std::size_t root = (1 + kFats * fat_sectors_) * kBytes;
    const std::size_t data = root + root_entries_ * kEntry;
    std::string image(total_sectors_ * kBytes, '\0');
    const auto put = [&image](std::size_t at, std::string_view bytes) {
        image.replace(at, bytes.size(), bytes);
    };
    for (std::size_t i = 0; i < kFats; ++i)
        put((1 + i * fat_sectors_) * kBytes, table);
    put(root, folder_bytes(0));
    for (std::size_t node = 1; node < tree_.nodes().size(); ++node) {
        if (clusters_[node] == 0) continue;
        const std::size_t at = data + (clusters_[node] - kFirstDataCluster) * kBytes;
        put(at, tree_[node].file != nullptr ? tree_[node].file->content : folder_bytes(node));
    }
    put(0, boot_sector(static_cast<std::uint32_t>(fnv1a(image))));
    return image;
}

}  // namespace

std::string make_fat(std::string_view label, const FileTree& tree) {
    return Writer(label, tree).write();
}

}  // namespace hako::seed
