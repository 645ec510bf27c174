#include "vmm/seed/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <system_error>

#include "vmm/base/fd.h"
#include "vmm/base/read_all.h"
#include "vmm/base/units.h"
#include "vmm/seed/file_tree.h"

namespace hako::seed {
namespace {

namespace fs = std::filesystem;

struct Found {
    std::vector<File> files;
    std::uint64_t total = 0;
};

Result<> read_into(Found& found, const fs::path& folder, const std::string& prefix, std::size_t depth) {
    if (depth > kMaxDepth)
        return fail_input("{}: folders nested deeper than {}", folder.string(), kMaxDepth - 1);
    std::error_code error;
    std::vector<fs::path> names;
    for (fs::directory_iterator each(folder, error), end; !error && each != end; each.increment(error)) {
        if (each->path().filename().string().starts_with("..")) continue;
        names.push_back(each->path());
        if (names.size() > kMaxFiles) return fail_input("{}: more than {} files", folder.string(), kMaxFiles);
    }
    if (error) return fail_input("cannot read the folder {}: {}", folder.string(), error.message());
    std::ranges::sort(names);
    for (const fs::path& path : names) {
        const std::string name = prefix + path.filename().string();
        const bool is_folder = fs::is_directory(path, error);
        if (is_folder) {
            HAKO_TRY(read_into(found, path, name + "/", depth + 1));
            continue;
        }
        if (found.files.size() >= kMaxFiles)
            return fail_input("{}: more than {} files", folder.string(), kMaxFiles);
        found.files.push_back({.path = name, .content = HAKO_TRY(read_file(path, kMaxFile))});
        found.total += found.files.back().content.size();
        if (found.total > kMaxTotal)
            return fail_input("{}: more than {} in all", folder.string(), format_size(kMaxTotal));
    }
    return {};
}

}  // namespace

Result<std::string> read_file(const fs::path& path, std::uint64_t max) {
    // Without O_NONBLOCK a named pipe would hold up the start.
    const Fd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!fd.valid()) return fail_input("cannot open {}: {}", path.string(), errno_text(errno));
    struct stat info{};
    if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode))
        return fail_input("{} is not a regular file", path.string());
    std::string text;
    const int error = read_all(fd.get(), max, text);
    if (error == EFBIG) return fail_input("{} is larger than {}", path.string(), format_size(max));
    if (error != 0) return fail_input("cannot read {}: {}", path.string(), errno_text(error));
    return text;
}

Result<std::vector<File>> read_folder(const fs::path& folder) {
    Found found;
    HAKO_TRY(read_into(found, folder, "", 1));
    return std::move(found.files);
}

}  // namespace hako::seed
