#include "tools/hako/bench_files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <random>
#include <utility>
#include <vector>

#include "vmm/base/fd.h"
#include "vmm/base/units.h"

namespace hako::bench {

Result<Folder> Folder::make(const std::string& parent) {
    std::string path = parent + "/hako-bench-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr)
        return std::unexpected(
            Error(Fault::kInput, errno_text(errno)).wrap("--directory " + parent + ": cannot make a folder"));
    return Folder(std::move(path));
}

Folder::Folder(Folder&& other) noexcept : path_(std::exchange(other.path_, {})) {}

Folder::~Folder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

Result<std::string> Folder::make_file(std::string_view name, std::uint64_t size) const {
    std::string path = path_ + "/" + std::string(name);
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file.valid()) return fail_errno(errno, "cannot make {}", path);
    std::vector<std::uint64_t> block((std::min(size, MiB) + 7) / sizeof(std::uint64_t));
    std::mt19937_64 numbers;  // the same in each file
    std::generate(block.begin(), block.end(), numbers);
    for (std::uint64_t done = 0; done < size;) {
        block.front() = done;  // no two blocks alike
        const ssize_t written = ::write(file.get(), block.data(), std::min<std::uint64_t>(MiB, size - done));
        if (written <= 0) return fail_errno(errno, "cannot fill {}", path);
        done += static_cast<std::uint64_t>(written);
    }
    if (::fsync(file.get()) != 0) return fail_errno(errno, "cannot fill {}", path);
    return path;
}

}  // namespace hako::bench
