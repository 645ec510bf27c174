// A disk image that goes away with the test.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "vmm/base/fd.h"

namespace hako::test {

class TempImage {
  public:
    /// A file of `bytes` zeros, in `directory` or where temporary files go.
    explicit TempImage(std::uint64_t bytes, const std::filesystem::path& directory = {}) {
        path_ = (directory.empty() ? std::filesystem::temp_directory_path() : directory) / "hako-test-XXXXXX";
        fd_ = Fd(::mkstemp(path_.data()));
        if (!fd_.valid() || ::ftruncate(fd_.get(), static_cast<off_t>(bytes)) != 0)
            throw std::runtime_error("cannot make a temporary image: " + path_);
    }
    TempImage(const TempImage&) = delete;
    TempImage& operator=(const TempImage&) = delete;
    ~TempImage() { ::unlink(path_.c_str()); }

    [[nodiscard]] const std::string& path() const { return path_; }
    void resize(std::uint64_t bytes) {
        [[maybe_unused]] const int done = ::ftruncate(fd_.get(), static_cast<off_t>(bytes));
    }
    void fill(std::uint64_t offset, std::size_t length, std::uint8_t value) {
        const std::vector<std::uint8_t> bytes(length, value);
        [[maybe_unused]] const ssize_t done =
            ::pwrite(fd_.get(), bytes.data(), length, static_cast<off_t>(offset));
    }
    [[nodiscard]] std::vector<std::uint8_t> read(std::uint64_t offset, std::size_t length) const {
        std::vector<std::uint8_t> bytes(length, 0xee);
        const ssize_t done = ::pread(fd_.get(), bytes.data(), length, static_cast<off_t>(offset));
        bytes.resize(done < 0 ? 0 : static_cast<std::size_t>(done));
        return bytes;
    }
    /// Bytes of storage the file takes.
    [[nodiscard]] std::uint64_t allocated() const {
        struct ::stat info{};
        ::fstat(fd_.get(), &info);
        return static_cast<std::uint64_t>(info.st_blocks) * 512;
    }

  private:
    std::string path_;
    Fd fd_;
};

}  // namespace hako::test
