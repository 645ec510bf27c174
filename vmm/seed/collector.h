// Gathers what a reader finds on a disk, within bounds.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vmm/seed/contents.h"

namespace hako::seed {

class Collector {
  public:
    /// The bytes from `at` on, all of which must be in the image.
    [[nodiscard]] static Result<std::string_view> slice(std::string_view image, std::uint64_t at,
                                                        std::uint64_t length) {
        if (at > image.size() || length > image.size() - at)
            return fail_input("the image is damaged: it ends before something that it speaks of");
        return image.substr(at, length);
    }

    /// Counts a file or a folder.
    Result<> count() {
        if (++items_ > kMaxListed)
            return fail_input("the image has more than {} files and folders", kMaxListed);
        return {};
    }
    /// Room for so many bytes more.
    Result<> reserve(std::uint64_t bytes) {
        total_ += bytes;
        if (total_ > kMaxRead)
            return fail_input("the image's files are larger than {} in all", format_size(kMaxRead));
        return {};
    }
    void add(File file) { files_.push_back(std::move(file)); }
    std::vector<File> take() { return std::move(files_); }

  private:
    std::vector<File> files_;
    std::size_t items_ = 0;
    std::uint64_t total_ = 0;
};

/// "a/b" of "a" and "b".
inline std::string joined(const std::string& folder, std::string_view name) {
    return folder.empty() ? std::string(name) : folder + "/" + std::string(name);
}

/// How deep folders may lie in one another, and how many records a folder's record may continue in.
inline constexpr std::size_t kMaxNesting = 16;

[[nodiscard]] Result<Contents> read_iso(std::string_view image);
[[nodiscard]] Result<Contents> read_fat(std::string_view image);

}  // namespace hako::seed
