#include "vmm/seed/iso.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>

namespace hako::seed {
namespace {

struct FreeArchive {
    void operator()(archive* writer) const { archive_write_free(writer); }
};
struct FreeEntry {
    void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

std::unexpected<Error> failed(archive* writer) {
    const char* const why = archive_error_string(writer);
    return fail_host(
        "cannot build the ISO 9660 image: {} (libarchive keeps the files in TMPDIR meanwhile: is there "
        "room?)",
        why != nullptr ? why : "no reason given");
}

la_ssize_t append(archive*, void* image, const void* bytes, std::size_t length) {
    static_cast<std::string*>(image)->append(static_cast<const char*>(bytes), length);
    return static_cast<la_ssize_t>(length);
}

// Where ISO 9660 (ECMA-119) keeps dates.
constexpr std::size_t kFirstDescriptor = 16;  // sector
constexpr std::uint8_t kPrimary = 1;
constexpr std::uint8_t kSupplementary = 2;  // Joliet
constexpr std::uint8_t kTerminator = 255;
constexpr std::size_t kPathTable = 140;  // its first sector, little-endian (8.4.16)
constexpr std::size_t kRootRecord = 156;
constexpr std::size_t kRootRecordSize = 34;
constexpr std::array<std::size_t, 3> kVolumeDates = {813, 830,
                                                     864};  // creation, modification, effective (8.4.26)
constexpr std::string_view kVolumeDate("1970010100000000\0", 17);
constexpr std::size_t kExtent = 2;  // in a directory record (9.1): first sector, little-endian
constexpr std::size_t kLength = 10;
constexpr std::size_t kRecordDate = 18;
constexpr std::size_t kNameLength = 32;
constexpr std::size_t kName = 33;
constexpr std::string_view kRecordDateValue("\x46\x01\x01\x00\x00\x00\x00", 7);

std::uint32_t load32(const std::string& image, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
        value |= static_cast<std::uint32_t>(static_cast<unsigned char>(image.at(at + i))) << (8 * i);
    return value;
}

/// The Rock Ridge time stamps (RRIP 4.1.6) of the directory record at `record`, which is whole within the
/// image.
void fix_time_stamps(std::string& image, std::size_t record) {
    const auto byte = [&image](std::size_t at) { return std::size_t{static_cast<unsigned char>(image[at])}; };
    const std::size_t end = record + byte(record);
    const std::size_t name = byte(record + kNameLength);
    // System use entries (SUSP 4) follow the name, at an even offset.
    std::size_t entry = record + kName + name + (name + 1) % 2;
    while (entry + 4 <= end && byte(entry + 2) >= 4 && entry + byte(entry + 2) <= end) {
        const std::size_t next = entry + byte(entry + 2);
        if (image.compare(entry, 2, "TF") == 0)
            for (std::size_t date = entry + 5; date + kRecordDateValue.size() <= next;
                 date += kRecordDateValue.size())
                image.replace(date, kRecordDateValue.size(), kRecordDateValue);
        entry = next;
    }
}

/// libarchive writes the time of day into the volume descriptors and local time into directory records.
/// False if the image is not laid out as the standard says.
bool fix_dates(std::string& image) {
    std::size_t path_table = 0;
    for (std::size_t sector = kFirstDescriptor; (sector + 1) * kSector <= image.size(); ++sector) {
        const std::size_t descriptor = sector * kSector;
        const auto type = static_cast<std::uint8_t>(image[descriptor]);
        if (type == kTerminator) {
            // Between the descriptors and the first path table libarchive notes its version, options and the
            // date.
            const std::size_t begin = descriptor + kSector;
            if (path_table < begin || path_table > image.size()) return false;
            std::fill(image.begin() + static_cast<std::ptrdiff_t>(begin),
                      image.begin() + static_cast<std::ptrdiff_t>(path_table), '\0');
            return true;
        }
        if (type != kPrimary && type != kSupplementary) continue;
        if (type == kPrimary) path_table = std::size_t{load32(image, descriptor + kPathTable)} * kSector;
        for (const std::size_t date : kVolumeDates)
            image.replace(descriptor + date, kVolumeDate.size(), kVolumeDate);
        image.replace(descriptor + kRootRecord + kRecordDate, kRecordDateValue.size(), kRecordDateValue);

        const std::size_t begin = std::size_t{load32(image, descriptor + kRootRecord + kExtent)} * kSector;
        const std::size_t end = begin + load32(image, descriptor + kRootRecord + kLength);
        if (end > image.size()) return false;
        for (std::size_t record = begin; record < end;) {
            const auto length = static_cast<std::uint8_t>(image[record]);
            if (length == 0) {  // the rest of the sector is empty
                record = (record / kSector + 1) * kSector;
                continue;
            }
            if (length < kRootRecordSize || record + length > end) return false;
            image.replace(record + kRecordDate, kRecordDateValue.size(), kRecordDateValue);
            fix_time_stamps(image, record);
            record += length;
        }
    }
    return false;
}

}  // namespace

Result<std::string> make_iso(std::string_view label, std::span<const IsoFile> files) {
    std::string image;
    const std::unique_ptr<archive, FreeArchive> writer(archive_write_new());
    const std::unique_ptr<archive_entry, FreeEntry> entry(archive_entry_new());
    if (!writer || !entry) return fail_host("no memory for the ISO 9660 image");
    archive* const out = writer.get();
    const auto option = [out](const char* key, const char* value) {
        return archive_write_set_format_option(out, "iso9660", key, value) == ARCHIVE_OK;
    };
    if (archive_write_set_format_iso9660(out) != ARCHIVE_OK ||
        !option("volume-id", std::string(label).c_str()) || !option("pad", nullptr) ||
        archive_write_set_bytes_per_block(out, 0) != ARCHIVE_OK ||
        archive_write_open(out, &image, nullptr, append, nullptr) != ARCHIVE_OK)
        return failed(out);

    for (const IsoFile& file : files) {
        archive_entry_clear(entry.get());
        archive_entry_set_pathname(entry.get(), std::string(file.name).c_str());
        archive_entry_set_filetype(entry.get(), S_IFREG);
        archive_entry_set_perm(entry.get(), 0444);
        archive_entry_set_uid(entry.get(), 0);
        archive_entry_set_gid(entry.get(), 0);
        archive_entry_set_size(entry.get(), static_cast<la_int64_t>(file.content.size()));
        if (archive_write_header(out, entry.get()) != ARCHIVE_OK) return failed(out);
        // An empty write would be taken for an error.
        if (!file.content.empty() && archive_write_data(out, file.content.data(), file.content.size()) !=
                                         static_cast<la_ssize_t>(file.content.size()))
            return failed(out);
    }
    if (archive_write_close(out) != ARCHIVE_OK) return failed(out);
    if (image.size() % kSector != 0 || !fix_dates(image))
        return fail_host("the ISO 9660 image is not as expected");
    return image;
}

}  // namespace hako::seed
