#include <algorithm>

#include "vmm/seed/bytes.h"
#include "vmm/seed/collector.h"
#include "vmm/seed/iso.h"

namespace hako::seed {
namespace {

// A folder's record (ECMA-119, 9.1).
constexpr std::size_t kExtent = 2;
constexpr std::size_t kLength = 10;
constexpr std::size_t kFlags = 25;
constexpr std::size_t kNameLength = 32;
constexpr std::size_t kName = 33;
constexpr std::uint8_t kFolder = 2;
constexpr std::size_t kRootRecord = 156;

/// What Rock Ridge tells of a record.
struct RockRidge {
    std::string name;
    std::optional<std::uint32_t> mode;
};

class IsoReader {
  public:
    explicit IsoReader(std::string_view image) : image_(image) {}

    Result<Contents> read();

  private:
    Result<> read_folder(std::string_view record, const std::string& path, std::size_t depth);
    Result<> read_record(std::string_view record, const std::string& path, std::size_t depth);
    [[nodiscard]] Result<RockRidge> rock_ridge(std::string_view record) const;
    [[nodiscard]] static std::string_view system_use(std::string_view record);
    [[nodiscard]] Result<std::string_view> extent(std::string_view record) const;

    std::string_view image_;
    bool has_rock_ridge_ = false;
    Collector found_;
};

/// What follows the identifier, at an even offset.
std::string_view IsoReader::system_use(std::string_view record) {
    const std::size_t length = load8(record, kNameLength);
    const std::size_t at = kName + length + (length + 1) % 2;
    return at < record.size() ? record.substr(at) : std::string_view();
}

Result<std::string_view> IsoReader::extent(std::string_view record) const {
    return Collector::slice(image_, std::uint64_t{load_le32(record, kExtent)} * kSector,
                            load_le32(record, kLength));
}

Result<RockRidge> IsoReader::rock_ridge(std::string_view record) const {
    RockRidge result;
    std::string_view area = system_use(record);
    for (std::size_t areas = 0; !area.empty() && areas < kMaxNesting; ++areas) {
        std::string_view next;
        while (area.size() >= 4) {
            const std::size_t length = load8(area, 2);
            if (length < 4 || length > area.size()) break;
            const std::string_view entry = area.substr(0, length);
            if (entry.starts_with("NM") && length > 5) result.name += entry.substr(5);
            if (entry.starts_with("PX") && length >= 12) result.mode = load_le32(entry, 4) & 0777U;
            if (entry.starts_with("CE") && length >= 28)
                next = HAKO_TRY(Collector::slice(
                    image_, std::uint64_t{load_le32(entry, 4)} * kSector + load_le32(entry, 12),
                    load_le32(entry, 20)));
            area.remove_prefix(length);
        }
        area = next;
    }
    return result;
}

Result<> IsoReader::read_record(std::string_view record, const std::string& path, std::size_t depth) {
    const std::size_t length = load8(record, kNameLength);
    if (length == 0 || kName + length > record.size())
        return fail_input("the image is damaged: a record without a name");
    std::string_view name = record.substr(kName, length);
    if (length == 1 && (name[0] == '\0' || name[0] == '\x01'))
        return {};  // the folder itself, and its parent
    HAKO_TRY(found_.count());
    RockRidge more;
    if (has_rock_ridge_) more = HAKO_TRY(rock_ridge(record));
    if (more.name.empty()) {
        name = name.substr(0, name.find(';'));
        if (name.ends_with('.')) name.remove_suffix(1);
        more.name = name;
    }
    const std::string full = joined(path, more.name);
    if ((load8(record, kFlags) & kFolder) != 0) return read_folder(record, full, depth + 1);
    const std::string_view content = HAKO_TRY(extent(record));
    HAKO_TRY(found_.reserve(content.size()));
    found_.add({.path = full, .content = std::string(content), .mode = more.mode});
    return {};
}

Result<> IsoReader::read_folder(std::string_view record, const std::string& path, std::size_t depth) {
    if (depth > kMaxNesting) return fail_input("the image has folders nested deeper than {}", kMaxNesting);
    const std::string_view bytes = HAKO_TRY(extent(record));
    HAKO_TRY(found_.reserve(bytes.size()));  // the same folder may be there many times
    for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t length = load8(bytes, at);
        if (length == 0) {  // the rest of the sector is empty
            at = (at / kSector + 1) * kSector;
            continue;
        }
        const std::string_view each = HAKO_TRY(Collector::slice(bytes, at, length));
        if (depth == 0 && at == 0) has_rock_ridge_ = system_use(each).starts_with("SP");
        HAKO_TRY(read_record(each, path, depth));
        at += length;
    }
    return {};
}

Result<Contents> IsoReader::read() {
    const std::string_view descriptor = image_.substr(16 * kSector, kSector);
    HAKO_TRY(read_folder(descriptor.substr(kRootRecord, kName + 1), "", 0));
    std::string_view label = descriptor.substr(40, 32);
    label = label.substr(0, label.find_last_not_of(' ') + 1);
    return Contents{.format = Format::kIso9660, .label = std::string(label), .files = found_.take()};
}

}  // namespace

Result<Contents> read_iso(std::string_view image) {
    return IsoReader(image).read();
}

}  // namespace hako::seed
