// Fuzzes small disks: the request that describes them, the builder, and the reader of images from anywhere.
//
// Input: what it is, then its bytes. Checks what must hold whatever they are.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "api/json/codec.h"
#include "api/schema/helper_disk.h"
#include "tests/fuzz/require.h"
#include "vmm/seed/contents.h"
#include "vmm/seed/file_tree.h"
#include "vmm/seed/iso.h"
#include "vmm/seed/seed.h"

using namespace hako;
using hako::fuzz::require;

namespace {

enum Kind : std::uint8_t { kImage, kRequest, kSeedRequest, kFiles, kTexts, kIsoImage, kKinds };

/// The user's fault, in a message of bounded length.
void refused(const Error& error) {
    require(error.fault() == Fault::kInput, "a refusal that is not the input's fault");
    require(error.text().size() < 4096, "a refusal without bounds");
}

/// What is built can be read, and is the same.
void check_disk(const seed::DiskConfig& disk) {
    const auto image = seed::image_bytes(disk);
    if (!image) return refused(image.error());
    require(image->size() % 512 == 0 && image->size() <= seed::kMaxRead, "an image of an odd size");
    require(seed::image_bytes(disk) == *image, "two images of the same files");
    auto contents = seed::read_contents(*image);
    require(contents.has_value(), "an image that cannot be read");
    std::vector<seed::File> expected = disk.files;
    if (disk.format == seed::Format::kIso9660)
        for (seed::File& file : expected)
            file.mode = file.mode.value_or(seed::kDefaultMode);
    std::ranges::sort(expected, {}, &seed::File::path);
    std::ranges::sort(contents->files, {}, &seed::File::path);
    require(contents->files == expected, "files that change on their disk");
    require(contents->label.size() == disk.label.size(), "a label that changes on its disk");
}

void check_image(const std::string& image) {
    const auto contents = seed::read_contents(image);
    if (!contents) return refused(contents.error());
    std::size_t bytes = 0;
    for (const seed::File& file : contents->files)
        bytes += file.content.size();
    require(contents->files.size() <= seed::kMaxListed && bytes <= seed::kMaxRead, "contents without bounds");
}

void check_request(std::string_view body) {
    const auto config = api::json::decode<api::HelperDiskConfig>(body);
    if (!config) return refused(config.error());
    const std::string text = api::json::encode(*config);
    const auto again = api::json::decode<api::HelperDiskConfig>(std::string_view(text));
    require(again.has_value() && *again == *config, "a disk that changes when it is written");
    check_disk({.label = config->label, .format = config->format, .files = config->files.list});
    const auto helper = api::to_machine(*config, {});
    if (!helper) refused(helper.error());
}

void check_seed(const seed::Config& config) {
    const auto disk = seed::disk_of(config);
    if (!disk) return refused(disk.error());
    require(disk->files.front().path == "meta-data", "a seed without meta-data");
    require(disk->files.front().content.find("instance-id") != std::string::npos,
            "a seed without an instance-id");
    check_disk(*disk);
}

/// Pieces between zeros: paths and contents in turn.
std::vector<std::string> pieces(std::string_view text) {
    std::vector<std::string> all(1);
    for (const char c : text) {
        if (c == '\0')
            all.emplace_back();
        else
            all.back() += c;
    }
    return all;
}

void check_files(std::string_view text) {
    std::vector<std::string> all = pieces(text);
    for (const seed::Format format : {seed::Format::kIso9660, seed::Format::kVfat}) {
        seed::DiskConfig disk{.label = all[0], .format = format, .files = {}};
        for (std::size_t i = 1; i + 1 < all.size(); i += 2) {
            seed::File file{.path = all[i], .content = all[i + 1]};
            if (format == seed::Format::kIso9660 && !file.content.empty())
                file.mode = static_cast<unsigned char>(file.content[0]) * 2U;
            disk.files.push_back(std::move(file));
        }
        check_disk(disk);
    }
}

void check_texts(std::string_view text) {
    std::vector<std::string> all = pieces(text);
    all.resize(6);
    const auto given = [](std::string& piece) {
        return piece.empty() ? std::nullopt : std::optional(std::move(piece));
    };
    seed::Config config{.user_data = all[0]};
    config.meta_data = given(all[1]);
    config.network_config = given(all[2]);
    config.vendor_data = given(all[3]);
    config.instance_id = given(all[4]);
    config.hostname = given(all[5]);
    check_seed(config);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
    switch (data[0] % kKinds) {
        case kImage:
            check_image(std::string(rest));
            break;
        case kIsoImage:
            // Behind the area that ISO 9660 leaves to others.
            check_image(std::string(16 * seed::kSector, '\0').append(rest));
            break;
        case kRequest:
            check_request(rest);
            break;
        case kSeedRequest:
            if (const auto config = api::json::decode<seed::Config>(rest))
                check_seed(*config);
            else
                refused(config.error());
            break;
        case kFiles:
            check_files(rest);
            break;
        default:
            check_texts(rest);
            break;
    }
    return 0;
}
