// userfaultfd (Documentation/admin-guide/mm/userfaultfd.rst): who touches a page of a memfd that is not there
// waits until another thread puts it there.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako {

/// One userfaultfd. Faults of the kernel are caught too: KVM and io_uring touch guest memory there. All
/// lengths are of whole pages. Any thread.
class Userfault {
  public:
    /// By /dev/userfaultfd, else by the system call. An error says why this host or user cannot.
    static Result<Userfault> open();

    /// From now on who touches a page of shared memory that is not there waits.
    Result<> watch(std::span<std::byte> memory);
    /// No longer; who waits goes on, with zeros where nothing is.
    Result<> unwatch(std::span<std::byte> memory);

    /// Readable while somebody waits that take() has not told of.
    [[nodiscard]] int fd() const { return fd_.get(); }
    /// The page that somebody waits for, or nothing: nobody does, or no more.
    Result<std::optional<std::byte*>> take() const;

    /// Fills pages that are not there, and wakes who waits for them. How many bytes from the start that was:
    /// less than all where a page is there already, which is left as it is.
    Result<std::size_t> copy(std::byte* to, std::span<const std::byte> content) const;
    Result<std::size_t> zero(std::span<std::byte> pages) const;
    /// Who waits for them looks again.
    void wake(std::span<std::byte> pages) const;

  private:
    explicit Userfault(Fd fd) : fd_(std::move(fd)) {}

    Fd fd_;
};

}  // namespace hako
