// A driver for virtio-balloon's first queue.
#pragma once

#include "virtio.h"

namespace guest {

/// Gives as many pages as the host wants, from 32 MiB on, each with a mark in it, and takes them back: they
/// are zeros then, whatever happened to the VM meanwhile.
class Balloon {
  public:
    static constexpr std::uint32_t kMost = 2048;  ///< pages

    /// The device in that PCI slot.
    explicit Balloon(int slot);

    /// In pages.
    [[nodiscard]] std::uint32_t wanted() const { return mmio_read<std::uint32_t>(device_.device_config()); }
    [[nodiscard]] std::uint32_t actual() const { return actual_; }
    /// Gives or takes back pages until it has `wanted` of them.
    void resize(std::uint32_t wanted);

  private:
    void give(std::uint32_t count);

    VirtioPci device_;
    std::uint32_t actual_ = 0;
};

}  // namespace guest
