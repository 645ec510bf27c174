#include "vmm/seed/file_tree.h"

#include <algorithm>

#include "vmm/seed/utf8.h"

namespace hako::seed {
namespace {

/// Of a path, in a message.
constexpr std::size_t kShownBytes = 80;
constexpr std::size_t kMaxPath = kMaxDepth * (kMaxName + 1);
/// What a long name of FAT may not hold (Microsoft's FAT specification 1.03, "Long Directory Entries").
constexpr std::string_view kNotInVfat = "\"*:<>?\\|";

bool is_control(char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

/// Control characters and what is not ASCII as \xNN.
std::string shown(std::string_view path) {
    std::string text = "\"";
    for (const char c : path.substr(0, kShownBytes)) {
        if (is_control(c) || c == '"' || static_cast<unsigned char>(c) >= 0x80)
            text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        else
            text += c;
    }
    return text + (path.size() > kShownBytes ? "…\"" : "\"");
}

std::unexpected<Error> refuse(std::string_view path, std::string_view why) {
    return fail_input("{}: {}", shown(path), why);
}

/// FAT's names are the same whatever the case of their letters.
std::string folded(std::string_view name) {
    std::string result(name);
    for (char& c : result)
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    return result;
}

Result<> check_name(std::string_view path, std::string_view name, Format format) {
    if (name.empty()) return refuse(path, "a path has names between single slashes, and none at its ends");
    if (name == "." || name == "..")
        return refuse(path, "a path has no \".\" or \"..\": it stays on the disk");
    if (name.size() > kMaxName)
        return refuse(path, fmt::format("a name of {} bytes: at most {} are allowed", name.size(), kMaxName));
    if (format != Format::kVfat) return {};
    if (name.find_first_of(kNotInVfat) != std::string_view::npos)
        return refuse(path, fmt::format("vfat allows none of {} in a name: use iso9660", kNotInVfat));
    if (name.ends_with('.') || name.ends_with(' '))
        return refuse(path, "vfat allows no dot or space at the end of a name: use iso9660");
    return {};
}

Result<> check_file(const File& file, Format format) {
    if (file.path.size() > kMaxPath)
        return refuse(file.path, fmt::format("a path of {} bytes is too long", file.path.size()));
    if (std::ranges::any_of(file.path, is_control))
        return refuse(file.path, "a path holds no control characters");
    for (std::string_view rest = file.path; !rest.empty();) {
        const std::size_t length = utf8_length(rest);
        if (length == 0) return refuse(file.path, "a path is UTF-8");
        rest.remove_prefix(length);
    }
    if (file.path.starts_with('/'))
        return refuse(file.path, "a path begins at the disk's root, without a slash");
    if (file.content.size() > kMaxFile)
        return refuse(file.path, fmt::format("{} bytes: at most {} are allowed", file.content.size(),
                                             format_size(kMaxFile)));
    if (file.mode && format == Format::kVfat)
        return refuse(file.path, "vfat keeps no mode: leave it out, or use iso9660");
    if (file.mode && *file.mode > kMaxMode)
        return refuse(file.path, fmt::format("mode {:04o}: at most 0777 is allowed", *file.mode));
    return {};
}

}  // namespace

Result<FileTree> FileTree::create(std::span<const File> files, Format format) {
    if (files.size() > kMaxFiles)
        return fail_input("{} files: at most {} are allowed", files.size(), kMaxFiles);
    std::uint64_t total = 0;
    FileTree tree;
    tree.nodes_.emplace_back();
    for (const File& file : files) {
        HAKO_TRY(check_file(file, format));
        total += file.content.size();
        if (total > kMaxTotal) return fail_input("more than {} in all", format_size(kMaxTotal));
        HAKO_TRY(tree.add(file, format));
    }
    if (format != Format::kVfat) return tree;
    for (const Node& folder : tree.nodes_) {
        std::vector<std::string> names;
        names.reserve(folder.children.size());
        for (const std::size_t child : folder.children)
            names.push_back(folded(tree.nodes_[child].name));
        std::ranges::sort(names);
        if (const auto twice = std::ranges::adjacent_find(names); twice != names.end())
            return refuse(
                *twice, "two names that differ in the case of letters only, which vfat does not tell apart");
    }
    return tree;
}

Result<> FileTree::add(const File& file, Format format) {
    std::size_t folder = 0;
    std::size_t depth = 0;
    for (std::string_view rest = file.path;;) {
        const std::size_t slash = rest.find('/');
        const std::string_view name = rest.substr(0, slash);
        HAKO_TRY(check_name(file.path, name, format));
        if (++depth > kMaxDepth)
            return refuse(file.path, fmt::format("a path has at most {} names", kMaxDepth));
        const bool last = slash == std::string_view::npos;
        // Where the name is, or belongs.
        auto& siblings = nodes_[folder].children;
        const auto place = std::ranges::lower_bound(
            siblings, name, {}, [this](std::size_t index) { return std::string_view(nodes_[index].name); });
        if (place != siblings.end() && nodes_[*place].name == name) {
            if (last || nodes_[*place].file != nullptr)
                return refuse(file.path, last && nodes_[*place].file != nullptr
                                             ? "the path is given twice"
                                             : "a file of that name is a folder, too");
            folder = *place;
        } else {
            const std::size_t index = nodes_.size();
            siblings.insert(place, index);
            nodes_.push_back({.name = std::string(name),
                              .file = last ? &file : nullptr,
                              .parent = folder,
                              .children = {}});
            folder = index;
        }
        if (last) return {};
        rest.remove_prefix(slash + 1);
    }
}

}  // namespace hako::seed
