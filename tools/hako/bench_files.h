// The files under test.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "vmm/base/result.h"

namespace hako::bench {

/// A new folder; it goes with this object, and what is in it.
class Folder {
  public:
    static Result<Folder> make(const std::string& parent);

    Folder(Folder&& other) noexcept;
    Folder& operator=(Folder&&) = delete;
    ~Folder();

    [[nodiscard]] const std::string& path() const { return path_; }

    /// Writes a file full of what no disk can compress or leave out; on the disk when this returns. Its path.
    Result<std::string> make_file(std::string_view name, std::uint64_t size) const;

  private:
    explicit Folder(std::string path) : path_(std::move(path)) {}

    std::string path_;
};

}  // namespace hako::bench
