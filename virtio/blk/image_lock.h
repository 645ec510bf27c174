// Who may use an image: byte-range locks that belong to the open file and die with its process.
#pragma once

#include <string>

#include "vmm/base/result.h"

namespace hako::virtio::blk {

/// OFD locks (fcntl(2), F_OFD_SETLK) on two bytes of an image; the bytes need not exist in the file.
///
/// OWNER is held for as long as the image is used: exclusively by a writer, shared by readers.
/// INTENT is held exclusively by a writer while it is about to take OWNER. A migration's destination holds
/// INTENT while the source still holds OWNER, so no third process slips in when OWNER changes hands.
/// The two bytes are those by which QEMU's tools say "I write" and "nobody else may write", so that each side
/// refuses what the other has in use.
class ImageLock {
  public:
    enum class Use { kRead, kWrite };

    /// On no file.
    ImageLock() = default;
    /// Locks through `fd`, which stays open (for writing, if kWrite) as long as this is used. Not locked yet.
    /// `name` stands for the image in messages.
    ImageLock(int fd, Use use, std::string name) : fd_(fd), use_(use), name_(std::move(name)) {}

    /// What everyone who starts does: announce(), then own(). An image in use by another is a Fault::kInput.
    Result<> acquire();
    /// Takes INTENT (a reader: looks that nobody has it).
    Result<> announce();
    /// Takes OWNER, then drops INTENT.
    Result<> own();
    /// Drops both. They also go when the last descriptor of the open file is closed.
    void release();

  private:
    /// 0 or the errno.
    int lock(short type, long offset);
    [[nodiscard]] Result<> explain(int error) const;
    void unlock(long offset);

    int fd_ = -1;
    Use use_ = Use::kRead;
    std::string name_;
};

}  // namespace hako::virtio::blk
