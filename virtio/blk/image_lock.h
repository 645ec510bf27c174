// Who may use an image: byte-range locks that belong to the open file and die with its process.
#pragma once

#include "vmm/base/result.h"

namespace hako::virtio::blk {

/// OFD locks (fcntl(2), F_OFD_SETLK) on two bytes of an image; the bytes need not exist in the file.
///
/// OWNER is held for as long as the image is used: exclusively by a writer, shared by readers.
/// INTENT is held exclusively by a writer while it is about to take OWNER. A migration's destination holds
/// INTENT while the source still holds OWNER, so no third process slips in when OWNER changes hands.
/// The two bytes are those by which QEMU's tools mark "writes" and "nobody else may write": each refuses
/// what the other has in use.
class ImageLock {
  public:
    enum class Use { kRead, kWrite };

    /// Unlocked, on no file.
    ImageLock() = default;
    /// Locks through `fd`, which must stay open (for writing, if kWrite) while this is used. Not locked yet.
    ImageLock(int fd, Use use) : fd_(fd), use_(use) {}

    /// Takes INTENT and OWNER, then drops INTENT. An image in use by another is a Fault::kInput.
    Result<> acquire(const std::string& name);
    /// Takes only INTENT, ahead of acquire().
    Result<> announce(const std::string& name);
    /// Drops both. The lock also goes when the last descriptor of the open file is closed.
    void release();

  private:
    int fd_ = -1;
    Use use_ = Use::kRead;
};

}  // namespace hako::virtio::blk
