// A driver for virtio 1.3 PCI devices and for the block queue, as small as a test needs.
#pragma once

#include "guest.h"

namespace guest {

struct Descriptor {
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t flags;
    std::uint16_t next;
};
constexpr std::uint16_t kNext = 1;
constexpr std::uint16_t kWrite = 2;

struct UsedElement {
    std::uint32_t id;
    std::uint32_t length;
};

constexpr std::uint16_t kQueueSize = 128;
constexpr std::uint64_t kVersion1 = std::uint64_t{1} << 32;
constexpr std::uint64_t kFlushFeature = std::uint64_t{1} << 9;  // VIRTIO_BLK_F_FLUSH

// The vectors of a device under test.
constexpr std::uint8_t kQueueInterrupt = 0x41;
constexpr std::uint8_t kConfigInterrupt = 0x62;

/// The three rings of one queue.
struct alignas(4096) Rings {
    Descriptor descriptors[kQueueSize];
    struct {
        std::uint16_t flags;
        std::uint16_t index;
        std::uint16_t ring[kQueueSize];
        std::uint16_t used_event;
    } available;
    struct alignas(4096) {
        std::uint16_t flags;
        std::uint16_t index;
        UsedElement ring[kQueueSize];
        std::uint16_t avail_event;
    } used;
};

/// One virtio-pci function.
class VirtioPci {
  public:
    explicit VirtioPci(std::uint16_t slot);

    /// ACKNOWLEDGE to FEATURES_OK with these feature bits.
    void negotiate(std::uint64_t features);
    /// Gives queue 0 these rings and MSI-X `vector`, and configuration changes `config_vector`.
    void set_up(Rings& rings, std::uint8_t vector, std::uint8_t config_vector);
    /// Gives queue 1 these rings; it has no interrupt.
    void set_up_second(Rings& rings);
    void driver_ok();
    void reset();
    void notify() { mmio_write<std::uint16_t>(notify_[0], 0); }
    /// Gives the device the chain at descriptor 0 of queue 0, and waits until it has used it.
    void carry_out(Rings& rings);
    void notify_second() { mmio_write<std::uint16_t>(notify_[1], 1); }
    [[nodiscard]] std::uint8_t status() { return mmio_read<std::uint8_t>(common_ + 0x14); }
    [[nodiscard]] std::uint64_t offered();
    [[nodiscard]] std::uint64_t common() const { return common_; }
    [[nodiscard]] std::uint64_t device_config() const { return device_config_; }
    [[nodiscard]] std::uint64_t bar() const { return bar_; }
    /// Moves the BAR and all that is derived from it.
    void move_bar(std::uint64_t address);

  private:
    void find_capabilities();
    void set_up_queue(std::uint16_t queue, Rings& rings, std::uint16_t vector);

    std::uint16_t slot_;
    std::uint64_t bar_ = 0;
    std::uint64_t common_ = 0;
    std::uint64_t notify_base_ = 0;
    std::uint32_t notify_multiplier_ = 0;
    std::uint64_t notify_[2] = {};
    std::uint64_t device_config_ = 0;
    std::uint64_t msix_table_ = 0;
    std::uint16_t msix_capability_ = 0;
};

// Device types (virtio 1.3, 5).
constexpr std::uint16_t kNetDevice = 1;
constexpr std::uint16_t kBlockDevice = 2;

/// The first device of a type; there is one.
VirtioPci find_device(std::uint16_t type);
/// The disk, with these features beside VERSION_1, and its queue on `rings`.
VirtioPci start_disk(Rings& rings, std::uint64_t features = 0);

/// Queue 0 of a virtio-blk device.
class BlockQueue {
  public:
    static constexpr std::uint32_t kIn = 0;
    static constexpr std::uint32_t kOut = 1;
    static constexpr std::uint32_t kFlush = 4;
    static constexpr std::uint32_t kGetId = 8;

    constexpr explicit BlockQueue(Rings& rings) : rings_(rings) {}

    /// Puts one request into slot `slot` (0 to 31) of the rings and makes it available.
    void submit(std::uint32_t slot, std::uint32_t type, std::uint64_t sector, void* data,
                std::uint32_t length);
    /// Waits until `count` more requests are used.
    void wait(std::uint16_t count);
    [[nodiscard]] std::uint8_t status_of(std::uint32_t slot) const { return statuses_[slot]; }

  private:
    struct Header {
        std::uint32_t type;
        std::uint32_t reserved;
        std::uint64_t sector;
    };

    Rings& rings_;
    Header headers_[32] = {};
    volatile std::uint8_t statuses_[32] = {};
    std::uint16_t used_ = 0;
};

}  // namespace guest
