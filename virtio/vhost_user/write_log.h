// What a daemon writes into guest memory, page by page: a bitmap in memory that both share.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::virtio::vhost_user {

/// A bit for each page of 4 KiB, from guest address 0 to the end of memory (VHOST_USER_SET_LOG_BASE). The
/// daemon may set any bit at any time; nobody can shrink the file.
class WriteLog {
  public:
    static Result<WriteLog> create(const GuestMemory& memory);
    WriteLog(WriteLog&& other) noexcept;
    WriteLog& operator=(WriteLog&&) = delete;
    ~WriteLog();

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] std::uint64_t size() const { return words_.size_bytes(); }
    /// Marks the pages whose bits are set in hako's own bitmap, and clears them.
    void take_into(GuestMemory& memory);

  private:
    WriteLog(Fd fd, std::span<std::uint64_t> words) : fd_(std::move(fd)), words_(words) {}

    Fd fd_;
    std::span<std::uint64_t> words_;
};

}  // namespace hako::virtio::vhost_user
