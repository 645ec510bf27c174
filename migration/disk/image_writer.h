// A disk's image at the destination, as it fills.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::migration {

/// An image that a disk is copied into.
struct TargetDisk {
    Fd image;                 ///< open for writing
    std::string name;         ///< for messages
    std::uint64_t bytes = 0;  ///< as the source has it
    bool fresh = false;       ///< it is all holes
};

/// The connections' threads write to it, each blocks of its own.
class ImageWriter {
  public:
    explicit ImageWriter(TargetDisk disk) : disk_(std::move(disk)) {}

    [[nodiscard]] std::uint64_t bytes() const { return disk_.bytes; }

    Result<> write(std::uint64_t offset, std::span<const std::byte> content);
    /// Makes a range zeros, and gives back its storage where that can be. `written`: it may hold something.
    Result<> zero(std::uint64_t offset, std::uint64_t length, bool written);
    /// All that was written is on the storage when it returns.
    Result<> sync();

  private:
    TargetDisk disk_;
    std::atomic<std::uint64_t> unsynced_{0};  ///< bytes, about
};

}  // namespace hako::migration
