#include "vmm/seed/disk.h"

#include <algorithm>

#include "vmm/seed/fat.h"
#include "vmm/seed/file_tree.h"
#include "vmm/seed/iso.h"

namespace hako::seed {
namespace {

bool printable(char c) {
    return c > ' ' && c <= '~';
}

bool fat_character(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/// As the format writes it.
Result<std::string> checked_label(const DiskConfig& config) {
    std::string label = config.label;
    if (config.format == Format::kIso9660) {
        if (label.empty() || label.size() > kMaxIsoLabel || !std::ranges::all_of(label, printable))
            return fail_input("1 to {} printable characters without spaces are wanted", kMaxIsoLabel);
        return label;
    }
    for (char& c : label)
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (label.empty() || label.size() > kMaxFatLabel || !std::ranges::all_of(label, fat_character))
        return fail_input("1 to {} letters, digits, '-' or '_' are wanted", kMaxFatLabel);
    return label;
}

}  // namespace

Result<std::string> image_bytes(const DiskConfig& config) {
    const std::string label = HAKO_TRY_WRAP(checked_label(config), "label");
    const FileTree tree = HAKO_TRY_WRAP(FileTree::create(config.files, config.format), "files");
    return config.format == Format::kIso9660 ? make_iso(label, tree) : make_fat(label, tree);
}

Result<Image> build(const DiskConfig& config) {
    return seal(HAKO_TRY(image_bytes(config)));
}

}  // namespace hako::seed
