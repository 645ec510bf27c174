// The image behind a block device: opened, probed, measured and locked.
#pragma once

#include <cstdint>
#include <string>

#include "virtio/blk/config.h"
#include "virtio/blk/image_lock.h"
#include "virtio/blk/state.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::virtio::blk {

/// What direct I/O on a file asks of each request, bytes (statx(2), STATX_DIOALIGN).
struct DirectAlignment {
    std::uint32_t memory = 512;  ///< of each buffer's address
    std::uint32_t offset = 512;  ///< of the file offset and of each buffer's length
};

/// A raw image file or a block device, open for as long as this lives; no other process may write it
/// meanwhile.
class Disk {
  public:
    /// Opens and locks `config.path`. What the user can mend is a Fault::kInput that names the path.
    /// With kAnnounce the image is another's until lock().own().
    enum class Claim { kOwn, kAnnounce };
    static Result<Disk> open(const Config& config, Claim claim = Claim::kOwn);
    /// Takes over an open file (a sealed memfd): read-only, through the page cache, not locked.
    /// `name` stands for it in messages.
    static Result<Disk> adopt(Fd file, std::string name);

    /// In the place of an image that is gone: for a restored device whose requests all fail.
    static Result<Disk> absent(bool readonly);

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] bool readonly() const { return readonly_; }
    /// Goes through the page cache.
    [[nodiscard]] int buffered_fd() const { return buffered_.get(); }
    /// Goes past the page cache (O_DIRECT), or -1.
    [[nodiscard]] int direct_fd() const { return direct_.get(); }
    [[nodiscard]] const DirectAlignment& direct_alignment() const { return direct_alignment_; }
    [[nodiscard]] const Topology& topology() const { return topology_; }

    /// The file's size now, in whole 512-byte sectors. Any thread.
    [[nodiscard]] Result<std::uint64_t> capacity() const;

    /// Makes an image file larger, to so many bytes: whole sectors. Any thread.
    Result<> grow(std::uint64_t bytes) const;

    /// What was written is on the storage when it returns (fdatasync). Any thread.
    Result<> flush() const;

    /// Gives the image up to another process, and takes it again; both for migration. open() has locked it.
    ImageLock& lock() { return lock_; }

  private:
    Disk() = default;
    Result<> open_file(const Config& config, int path_fd);
    Result<> open_direct(const Config& config, int path_fd);
    Result<> read_topology();
    Result<> check_size() const;

    std::string name_;
    bool readonly_ = true;
    bool block_device_ = false;
    Fd buffered_;
    Fd direct_;
    DirectAlignment direct_alignment_;
    Topology topology_;
    ImageLock lock_;
};

}  // namespace hako::virtio::blk
