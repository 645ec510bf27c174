#include <algorithm>

#include "vmm/seed/bytes.h"
#include "vmm/seed/collector.h"
#include "vmm/seed/fat_layout.h"
#include "vmm/seed/utf8.h"

namespace hako::seed {
namespace {

using namespace fat;

std::string trimmed(std::string_view text) {
    return std::string(text.substr(0, text.find_last_not_of(' ') + 1));
}

class FatReader {
  public:
    explicit FatReader(std::string_view image) : image_(image) {}

    Result<Contents> read();

  private:
    Result<> read_layout();
    Result<> read_folder(std::string_view bytes, const std::string& path, std::size_t depth);
    Result<> read_entry(std::string_view entry, const std::string& long_name, const std::string& path,
                        std::size_t depth);
    /// Of a file: `length` bytes. Of a folder (no length): whole clusters.
    Result<std::string> read_chain(std::size_t cluster, std::optional<std::size_t> length);
    [[nodiscard]] std::size_t next(std::size_t cluster) const;

    std::string_view image_;
    std::string_view table_;
    std::string_view root_;
    std::string_view data_;
    std::size_t cluster_bytes_ = 0;
    std::size_t clusters_ = 0;
    std::string label_;
    Collector found_;
};

Result<> FatReader::read_layout() {
    const std::size_t sector = load_le16(image_, kBytesPerSector);
    const std::size_t per_cluster = load8(image_, kSectorsPerCluster);
    const std::size_t reserved = load_le16(image_, kReservedSectors);
    const std::size_t fats = load8(image_, kFatCount);
    const std::size_t fat_sectors = load_le16(image_, kFatSectors);
    const std::size_t root_bytes = load_le16(image_, kRootEntries) * kEntry;
    std::size_t total = load_le16(image_, kSectors16);
    if (total == 0) total = load_le32(image_, kSectors32);
    if (sector < 512 || sector > 4096 || (sector & (sector - 1)) != 0 || per_cluster == 0 || reserved == 0 ||
        fats == 0)
        return fail_input("the image's boot sector makes no sense");
    if (fat_sectors == 0 || root_bytes == 0)
        return fail_input("the image is FAT32, which hako does not read");
    const std::size_t root = (reserved + fats * fat_sectors) * sector;
    const std::size_t data = root + (root_bytes + sector - 1) / sector * sector;
    if (total < data / sector) return fail_input("the image's boot sector makes no sense");
    table_ = HAKO_TRY(Collector::slice(image_, reserved * sector, fat_sectors * sector));
    root_ = HAKO_TRY(Collector::slice(image_, root, root_bytes));
    cluster_bytes_ = sector * per_cluster;
    clusters_ = (total - data / sector) / per_cluster;
    if (clusters_ >= kFat32Clusters) return fail_input("the image is FAT32, which hako does not read");
    data_ = HAKO_TRY(Collector::slice(image_, data, clusters_ * cluster_bytes_));
    return {};
}

std::size_t FatReader::next(std::size_t cluster) const {
    if (clusters_ >= kFat16Clusters) return load_le16(table_, cluster * 2);
    const unsigned shared = load_le16(table_, cluster * 3 / 2);
    return cluster % 2 == 0 ? shared & 0xfffU : shared >> 4;
}

Result<std::string> FatReader::read_chain(std::size_t cluster, std::optional<std::size_t> length) {
    std::string out;
    // A chain that runs in circles ends with the bound on all bytes.
    while (!length || out.size() < *length) {
        if (cluster < kFirstDataCluster || cluster - kFirstDataCluster >= clusters_) {
            if (!length && !out.empty()) return out;
            return fail_input("the image is damaged: a chain of clusters ends too early");
        }
        HAKO_TRY(found_.reserve(cluster_bytes_));
        out += data_.substr((cluster - kFirstDataCluster) * cluster_bytes_, cluster_bytes_);
        cluster = next(cluster);
    }
    out.resize(*length);
    return out;
}

Result<> FatReader::read_entry(std::string_view entry, const std::string& long_name, const std::string& path,
                               std::size_t depth) {
    const std::uint8_t attributes = load8(entry, kAttributes);
    if ((attributes & kLabel) != 0) {
        if (depth == 0 && label_.empty()) label_ = trimmed(entry.substr(0, kShortName));
        return {};
    }
    if (entry[0] == '.') return {};  // the folder itself, and its parent
    HAKO_TRY(found_.count());
    std::string name = long_name;
    if (name.empty()) {
        name = trimmed(entry.substr(0, 8));
        const std::string extension = trimmed(entry.substr(8, 3));
        if (!extension.empty()) name += "." + extension;
    }
    const std::string full = joined(path, name);
    const std::size_t cluster = load_le16(entry, kFirstCluster);
    if ((attributes & kFolder) != 0)
        return read_folder(HAKO_TRY(read_chain(cluster, std::nullopt)), full, depth + 1);
    found_.add({.path = full, .content = HAKO_TRY(read_chain(cluster, load_le32(entry, kFileSize)))});
    return {};
}

Result<> FatReader::read_folder(std::string_view bytes, const std::string& path, std::size_t depth) {
    constexpr std::size_t kMaxLongName = 255;
    if (depth > kMaxNesting) return fail_input("the image has folders nested deeper than {}", kMaxNesting);
    std::u16string pending;
    for (; bytes.size() >= kEntry; bytes.remove_prefix(kEntry)) {
        const std::string_view entry = bytes.substr(0, kEntry);
        if (entry[0] == '\0') break;
        if (load8(entry, 0) == kDeleted) {
            pending.clear();
        } else if (load8(entry, kAttributes) == kLongName) {
            if ((load8(entry, 0) & kLastPiece) != 0) pending.clear();
            std::u16string piece;
            for (const std::size_t at : kUnits) {
                const std::uint16_t unit = load_le16(entry, at);
                if (unit == 0) break;
                piece += static_cast<char16_t>(unit);
            }
            pending.insert(0, piece);
            if (pending.size() > kMaxLongName) return fail_input("the image is damaged: a name without end");
        } else {
            HAKO_TRY(read_entry(entry, to_utf8(pending), path, depth));
            pending.clear();
        }
    }
    return {};
}

Result<Contents> FatReader::read() {
    HAKO_TRY(read_layout());
    HAKO_TRY(read_folder(root_, "", 0));
    if (label_.empty()) label_ = trimmed(image_.substr(kVolumeLabel, kShortName));
    return Contents{.format = Format::kVfat, .label = label_, .files = found_.take()};
}

}  // namespace

Result<Contents> read_fat(std::string_view image) {
    return FatReader(image).read();
}

}  // namespace hako::seed
