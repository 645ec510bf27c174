// Memory of which most is never touched.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <span>
#include <type_traits>

#include "vmm/base/units.h"

namespace hako {

/// An array of zeros with pages of its own, backed only where it is written. The kernel is told not to put
/// huge pages there: where it uses them unasked (THP `always`) one touched byte would cost 2 MiB.
template <typename T>
class SparseArray {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

  public:
    explicit SparseArray(std::size_t count) : bytes_(align_up(count * sizeof(T), kPageSize)) {
        void* const pages = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (pages == MAP_FAILED) throw std::bad_alloc();
        ::madvise(pages, bytes_, MADV_NOHUGEPAGE);
        data_ = static_cast<T*>(pages);
    }
    SparseArray(const SparseArray&) = delete;
    SparseArray& operator=(const SparseArray&) = delete;
    ~SparseArray() { ::munmap(data_, bytes_); }

    [[nodiscard]] T* get() const { return data_; }
    /// Gives back what backs the elements from `first` on, but for the page in which it lies; they are zeros
    /// or what they were.
    void discard_from(std::size_t first) {
        const std::size_t offset = align_up(first * sizeof(T), kPageSize);
        if (offset < bytes_)
            ::madvise(reinterpret_cast<std::byte*>(data_) + offset, bytes_ - offset, MADV_DONTNEED);
    }

  private:
    std::size_t bytes_;
    T* data_;
};

}  // namespace hako
