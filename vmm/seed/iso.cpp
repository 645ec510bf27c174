#include "vmm/seed/iso.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "vmm/seed/bytes.h"
#include "vmm/seed/short_names.h"
#include "vmm/seed/utf8.h"

// ECMA-119 is ISO 9660; SUSP 1.10 and RRIP 1.10 are Rock Ridge.
namespace hako::seed {
namespace {

constexpr std::size_t kFirstDescriptor = 16;  // sector
constexpr std::size_t kDescriptors = 3;       // primary, Joliet, terminator
constexpr std::uint8_t kPrimary = 1;
constexpr std::uint8_t kSupplementary = 2;
constexpr std::uint8_t kTerminator = 255;
constexpr std::string_view kUcs2Level3 = "%/E";  // escape sequence of Joliet
constexpr std::string_view kNoDate("0000000000000000\0", 17);
constexpr std::string_view kVolumeDate("1970010100000000\0", 17);   // 8.4.26.1
constexpr std::string_view kRecordDate("\x46\x01\x01\0\0\0\0", 7);  // 9.1.5
constexpr std::uint8_t kFolderFlag = 2;                             // 9.1.6
constexpr std::size_t kInlineName = 128;     ///< longer names go to the continuation area
constexpr std::size_t kNamePiece = 250;      ///< of a name in one NM entry
constexpr std::size_t kMaxJolietName = 103;  ///< characters that readers of Joliet know to take
constexpr std::string_view kNotInJoliet = "*/:;?\\";
/// The texts of a descriptor about its set, publisher and so on (8.4.21 to 8.4.27).
constexpr std::array<std::size_t, 7> kTextFields = {128, 128, 128, 128, 37, 37, 37};
constexpr std::uint32_t kFolderMode = S_IFDIR | 0555;

std::size_t sectors(std::size_t bytes) {
    return (bytes + kSector - 1) / kSector;
}

/// A number in both byte orders (7.3.3, 7.2.3).
void append_both(std::string& out, std::uint64_t value, std::size_t count) {
    append_le(out, value, count);
    append_be(out, value, count);
}

std::string ucs2(std::u16string_view text) {
    std::string out;
    for (const char16_t unit : text)
        append_be(out, unit, 2);
    return out;
}

/// Identifiers of one folder's children, unique; without a version, which nobody asks for.
class JolietNames {
  public:
    std::u16string take(std::string_view name) {
        std::u16string text = to_utf16(name).value_or(u"_");
        for (char16_t& unit : text)
            if (unit < 0x80 && kNotInJoliet.find(static_cast<char>(unit)) != std::string_view::npos)
                unit = u'_';
        if (text.size() <= kMaxJolietName && taken_.insert(text).second) return text;
        for (;;) {
            const std::u16string tail = to_utf16(fmt::format("~{}", ++number_)).value_or(u"");
            std::u16string tried = text.substr(0, kMaxJolietName - tail.size()) + tail;
            if (taken_.insert(tried).second) return tried;
        }
    }

  private:
    std::set<std::u16string> taken_;
    std::size_t number_ = 0;
};

/// What the system use area of a record has no room for. No piece crosses a sector.
class Continuation {
  public:
    /// Where the piece is: a sector of the area, and the offset in it.
    std::pair<std::size_t, std::size_t> add(const std::string& piece) {
        if (bytes_.size() % kSector + piece.size() > kSector) bytes_.resize(sectors(bytes_.size()) * kSector);
        const std::size_t at = bytes_.size();
        bytes_ += piece;
        return {at / kSector, at % kSector};
    }
    [[nodiscard]] const std::string& bytes() const { return bytes_; }

  private:
    std::string bytes_;
};

/// Where all things are: sectors.
struct Places {
    std::vector<std::size_t> extents;  ///< of the folders of this view, and of all files
    std::vector<std::size_t> sizes;    ///< of the folders, in bytes
    std::size_t continuation = 0;
    std::size_t path_table_le = 0;
    std::size_t path_table_be = 0;
};

/// One of the two trees of folders over the same files.
class View {
  public:
    View(const FileTree& tree, bool joliet) : tree_(tree), joliet_(joliet), ids_(tree.nodes().size()) {
        places_.extents.resize(tree.nodes().size());
        places_.sizes.resize(tree.nodes().size());
        name_all();
        order_folders();
        // Once for the sizes: they do not depend on where things will be.
        for (const std::size_t folder : folders_)
            places_.sizes[folder] = folder_bytes(folder).size();
        continuation_size_ = continuation_.bytes().size();
    }

    Places& places() { return places_; }
    [[nodiscard]] const std::vector<std::size_t>& folders() const { return folders_; }
    [[nodiscard]] std::size_t continuation_size() const { return continuation_size_; }
    [[nodiscard]] std::size_t path_table_size() const { return path_table(true).size(); }

    [[nodiscard]] std::string path_table(bool little_endian) const;
    [[nodiscard]] std::string descriptor(std::string_view label, std::size_t total) const;
    /// Writes folders and what continues their records.
    void write(std::string& image);

  private:
    void name_all();
    void order_folders();
    std::string folder_bytes(std::size_t folder);
    [[nodiscard]] std::string record(std::string_view id, std::size_t node,
                                     std::string_view system_use) const;
    [[nodiscard]] std::string attributes(std::size_t node, bool named) const;
    std::string name_entries(std::size_t node, std::size_t room);

    const FileTree& tree_;
    const bool joliet_;
    std::vector<std::string> ids_;  ///< by node; the root's is empty
    std::vector<std::size_t> folders_;
    Continuation continuation_;
    std::size_t continuation_size_ = 0;
    Places places_;
};

void View::name_all() {
    for (const FileTree::Node& folder : tree_.nodes()) {
        ShortNames short_names('_');
        JolietNames joliet_names;
        for (const std::size_t child : folder.children) {
            const FileTree::Node& node = tree_[child];
            if (joliet_) {
                ids_[child] = ucs2(joliet_names.take(node.name));
            } else if (node.file != nullptr) {
                const ShortName name = short_names.take(node.name);
                ids_[child] = name.base + "." + name.extension + ";1";
            } else {
                // 7.6: a folder's identifier has no dot.
                std::string bare = node.name;
                std::ranges::replace(bare, '.', '_');
                ids_[child] = short_names.take(bare).base;
            }
        }
    }
}

/// Level by level, each in the order of its parents, then of identifiers (6.9.1).
void View::order_folders() {
    folders_.push_back(0);
    for (std::size_t next = 0; next < folders_.size(); ++next) {
        std::vector<std::size_t> below;
        for (const std::size_t child : tree_[folders_[next]].children)
            if (tree_[child].file == nullptr) below.push_back(child);
        std::ranges::sort(below, {}, [this](std::size_t node) { return ids_[node]; });
        folders_.insert(folders_.end(), below.begin(), below.end());
    }
}

std::string View::record(std::string_view id, std::size_t node, std::string_view system_use) const {
    const FileTree::Node& each = tree_[node];
    std::string out(1, '\0');
    out += '\0';  // no extended attributes
    append_both(out, places_.extents[node], 4);
    append_both(out, each.file != nullptr ? each.file->content.size() : places_.sizes[node], 4);
    out += kRecordDate;
    out += static_cast<char>(each.file != nullptr ? 0 : kFolderFlag);
    out.append(2, '\0');  // not interleaved
    append_both(out, 1, 2);
    out += static_cast<char>(id.size());
    out += id;
    if (id.size() % 2 == 0) out += '\0';
    out += system_use;
    if (out.size() % 2 != 0) out += '\0';
    out[0] = static_cast<char>(out.size());
    return out;
}

/// RR (what there is) and PX (mode, links, owner: RRIP 4.1.1).
std::string View::attributes(std::size_t node, bool named) const {
    constexpr std::uint8_t kHasPx = 1;
    constexpr std::uint8_t kHasNm = 8;
    const FileTree::Node& each = tree_[node];
    std::string out = "RR\x05\x01";
    out += static_cast<char>(named ? kHasPx | kHasNm : kHasPx);
    out += "PX\x24\x01";
    std::size_t links = 1;
    std::uint32_t mode = kFolderMode;
    if (each.file != nullptr) {
        mode = S_IFREG | each.file->mode.value_or(kDefaultMode);
    } else {
        links = 2;
        for (const std::size_t child : each.children)
            if (tree_[child].file == nullptr) ++links;
    }
    append_both(out, mode, 4);
    append_both(out, links, 4);
    append_both(out, 0, 4);
    append_both(out, 0, 4);
    return out;
}

/// NM (RRIP 4.1.4), in the continuation area (CE, SUSP 5.1) if it is longer than `room`.
std::string View::name_entries(std::size_t node, std::size_t room) {
    constexpr char kContinues = 1;
    std::string names;
    for (std::string_view rest = tree_[node].name; !rest.empty();) {
        const std::string_view piece = rest.substr(0, kNamePiece);
        rest.remove_prefix(piece.size());
        names += "NM";
        names += static_cast<char>(piece.size() + 5);
        names += '\x01';
        names += rest.empty() ? '\0' : kContinues;
        names += piece;
    }
    if (names.size() <= room) return names;
    const auto [sector, offset] = continuation_.add(names);
    std::string out = "CE\x1c\x01";
    append_both(out, places_.continuation + sector, 4);
    append_both(out, offset, 4);
    append_both(out, names.size(), 4);
    return out;
}

/// The folder's records, none across two sectors (6.8.1.1), to whole sectors.
std::string View::folder_bytes(std::size_t folder) {
    // SP and ER (SUSP 5.3, 5.5): Rock Ridge is used.
    static constexpr std::string_view kSp("SP\x07\x01\xbe\xef\0", 7);
    static constexpr std::string_view kEr("ER\x27\x01\x0a\x15\0\x01RRIP_1991APOSIX FILE ATTRIBUTES", 39);
    const std::size_t parent = tree_[folder].parent;
    const std::string root_use = joliet_ || folder != 0 ? std::string() : std::string(kSp);
    const std::string last_use = joliet_ || folder != 0 ? std::string() : std::string(kEr);
    const auto own = [&](std::size_t node) { return joliet_ ? std::string() : attributes(node, false); };

    std::vector<std::size_t> children = tree_[folder].children;
    std::ranges::sort(children, {}, [this](std::size_t node) { return ids_[node]; });
    std::string out = record(std::string_view("\0", 1), folder, root_use + own(folder) + last_use);
    out += record("\x01", parent, own(parent));
    for (const std::size_t child : children) {
        const std::string use =
            joliet_ ? std::string() : attributes(child, true) + name_entries(child, kInlineName);
        const std::string each = record(ids_[child], child, use);
        if (out.size() % kSector + each.size() > kSector) out.resize(sectors(out.size()) * kSector);
        out += each;
    }
    out.resize(sectors(out.size()) * kSector);
    return out;
}

std::string View::path_table(bool little_endian) const {
    const auto put = [&](std::string& out, std::size_t value, std::size_t count) {
        little_endian ? append_le(out, value, count) : append_be(out, value, count);
    };
    std::vector<std::size_t> numbers(tree_.nodes().size());
    std::string out;
    for (std::size_t i = 0; i < folders_.size(); ++i) {
        const std::size_t folder = folders_[i];
        numbers[folder] = i + 1;
        const std::string id = folder == 0 ? std::string(1, '\0') : ids_[folder];
        out += static_cast<char>(id.size());
        out += '\0';
        put(out, places_.extents[folder], 4);
        put(out, numbers[tree_[folder].parent], 2);
        out += id;
        if (id.size() % 2 != 0) out += '\0';
    }
    return out;
}

/// 8.4 and 8.5.
std::string View::descriptor(std::string_view label, std::size_t total) const {
    std::string out;
    const auto text = [&](std::string_view value, std::size_t length) {
        std::string field = joliet_ ? ucs2(to_utf16(value).value_or(u"")) : std::string(value);
        while (field.size() < length)
            field += joliet_ && field.size() % 2 == 0 && field.size() + 1 < length ? std::string("\0 ", 2)
                                                                                   : std::string(" ");
        out += field.substr(0, length);
    };
    out += static_cast<char>(joliet_ ? kSupplementary : kPrimary);
    out += "CD001";
    out += '\x01';
    out += '\0';
    text("", 32);
    text(label, 32);
    out.append(8, '\0');
    append_both(out, total, 4);
    std::string escapes(joliet_ ? kUcs2Level3 : "");
    escapes.resize(32);
    out += escapes;
    append_both(out, 1, 2);
    append_both(out, 1, 2);
    append_both(out, kSector, 2);
    append_both(out, path_table_size(), 4);
    append_le(out, places_.path_table_le, 4);
    append_le(out, 0, 4);
    append_be(out, places_.path_table_be, 4);
    append_be(out, 0, 4);
    out += record(std::string_view("\0", 1), 0, "");
    for (const std::size_t length : kTextFields)
        text("", length);
    out += kVolumeDate;
    out += kVolumeDate;
    out += kNoDate;
    out += kVolumeDate;
    out += '\x01';
    out.resize(kSector);
    return out;
}

void View::write(std::string& image) {
    continuation_ = Continuation();
    for (const std::size_t folder : folders_) {
        const std::string bytes = folder_bytes(folder);
        image.replace(places_.extents[folder] * kSector, bytes.size(), bytes);
    }
    const std::string& rest = continuation_.bytes();
    image.replace(places_.continuation * kSector, rest.size(), rest);
}

std::string terminator() {
    std::string out(1, static_cast<char>(kTerminator));
    out += "CD001\x01";
    out.resize(kSector);
    return out;
}

}  // namespace

std::string make_iso(std::string_view label, const FileTree& tree) {
    std::array<View, 2> views = {View(tree, false), View(tree, true)};
    std::size_t next = kFirstDescriptor + kDescriptors;
    const auto take = [&next](std::size_t bytes) { return std::exchange(next, next + sectors(bytes)); };
    for (View& view : views) {
        view.places().path_table_le = take(view.path_table_size());
        view.places().path_table_be = take(view.path_table_size());
    }
    for (View& view : views) {
        for (const std::size_t folder : view.folders())
            view.places().extents[folder] = take(view.places().sizes[folder]);
        view.places().continuation = take(view.continuation_size());
    }
    for (std::size_t node = 0; node < tree.nodes().size(); ++node) {
        if (tree[node].file == nullptr) continue;
        const std::size_t extent = take(tree[node].file->content.size());
        for (View& view : views)
            view.places().extents[node] = extent;
    }

    std::string image(next * kSector, '\0');
    const auto put = [&image](std::size_t sector, const std::string& bytes) {
        image.replace(sector * kSector, bytes.size(), bytes);
    };
    for (std::size_t i = 0; i < views.size(); ++i) {
        View& view = views[i];
        put(kFirstDescriptor + i, view.descriptor(label, next));
        put(view.places().path_table_le, view.path_table(true));
        put(view.places().path_table_be, view.path_table(false));
        view.write(image);
    }
    put(kFirstDescriptor + views.size(), terminator());
    for (std::size_t node = 0; node < tree.nodes().size(); ++node)
        if (tree[node].file != nullptr) put(views[0].places().extents[node], tree[node].file->content);
    return image;
}

}  // namespace hako::seed
