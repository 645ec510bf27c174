// Where disks that come with a VM are put.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "migration/disk/image_writer.h"
#include "vmm/base/result.h"

namespace hako::migration {

/// Images that were made for a VM that is to come. They stay, unless remove() is called.
class NewImages {
  public:
    /// Makes a file of `bytes` bytes, all holes; its name outlives a power cut. If there is one, or a block
    /// device, it must be of that size, and what is in it will be overwritten; who uses it is for its lock to
    /// say, which has to be taken before it is written to.
    Result<TargetDisk> open(const std::string& path, std::uint64_t bytes);
    /// Removes those that were made: while their locks are held, so that nobody has begun to use them.
    void remove();

  private:
    struct Made {
        std::string path;
        struct ::stat file{};
    };
    std::vector<Made> made_;
};

/// Are both descriptors of one file?
[[nodiscard]] bool same_file(int a, int b);

}  // namespace hako::migration
