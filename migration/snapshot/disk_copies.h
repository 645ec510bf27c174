// Copies of a VM's disks of the moment that a snapshot holds.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::migration {

struct DiskCopy {
    std::string id;    ///< of the disk
    std::string path;  ///< of the copy, a new file
    bool copy =
        false;  ///< where the file system cannot share blocks (FICLONE): copy them while the guest waits
};

/// The files are gone again unless keep() was reached.
class DiskCopies {
  public:
    DiskCopies() = default;
    DiskCopies(const DiskCopies&) = delete;
    DiskCopies& operator=(const DiskCopies&) = delete;
    ~DiskCopies() { remove(); }

    /// While the guest still runs. `image`: open for reading.
    Result<> add(const DiskCopy& wanted, Fd image);
    /// While it stands still, with its writes on the storage. Gives up at the deadline, or when `go_on`
    /// fails.
    Result<> make(std::chrono::steady_clock::time_point deadline, const std::function<Result<>()>& go_on);
    /// Once it runs again: they are safe from a power cut when it returns.
    Result<> sync();
    /// Nothing is left of them.
    void remove();
    /// They stay.
    void keep() { files_.clear(); }

  private:
    struct File {
        DiskCopy wanted;
        Fd image;
        Fd file;
    };
    std::vector<File> files_;
};

}  // namespace hako::migration
