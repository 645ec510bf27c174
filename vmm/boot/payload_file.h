// A kernel or initrd file: opened and checked once, read piece by piece into guest memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::boot {

/// A regular, readable, non-empty file. It is read with pread(2), never mapped: one that shrinks meanwhile
/// gives an error, not SIGBUS. All errors are Fault::kInput and name the file.
class PayloadFile {
  public:
    /// `role` ("kernel", "initrd") is how messages call it.
    static Result<PayloadFile> open(std::string path, std::string role);

    [[nodiscard]] std::uint64_t size() const { return size_; }
    /// "kernel /boot/vmlinuz", for messages.
    [[nodiscard]] const std::string& name() const { return name_; }

    /// Fills `data` from `offset` bytes into the file, or fails.
    Result<> read(std::uint64_t offset, std::span<std::byte> data) const;
    /// The struct at `offset`.
    template <typename T>
    [[nodiscard]] Result<T> read(std::uint64_t offset) const {
        static_assert(std::is_trivially_copyable_v<T>);
        T value;
        HAKO_TRY(read(offset, std::as_writable_bytes(std::span(&value, 1))));
        return value;
    }
    /// Copies `length` bytes at `offset` into guest memory at `address`.
    Result<> load(GuestMemory& memory, GuestAddress address, std::uint64_t offset,
                  std::uint64_t length) const;

  private:
    PayloadFile(Fd fd, std::string name, std::uint64_t size)
        : fd_(std::move(fd)), name_(std::move(name)), size_(size) {}

    Fd fd_;
    std::string name_;
    std::uint64_t size_;
};

}  // namespace hako::boot
