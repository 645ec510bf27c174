// What every virtio device is to its transport, and what the transport is to the device. (virtio 1.3, 2 and
// 3)
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "vmm/base/eventfd.h"
#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::virtio {

/// Device IDs (virtio 1.3, 5).
enum class DeviceType : std::uint16_t {
    kNet = 1,
    kBlock = 2,
    kConsole = 3,
    kEntropy = 4,
    kBalloon = 5,
    kVsock = 19,
    kMem = 24,
    kFs = 26,
};

/// Device status bits (virtio 1.3, 2.1).
namespace status {
inline constexpr std::uint8_t kAcknowledge = 1;
inline constexpr std::uint8_t kDriver = 2;
inline constexpr std::uint8_t kDriverOk = 4;
inline constexpr std::uint8_t kFeaturesOk = 8;
inline constexpr std::uint8_t kNeedsReset = 64;
inline constexpr std::uint8_t kFailed = 128;
}  // namespace status

/// Feature bits that belong to no device type (virtio 1.3, 6).
namespace feature {
inline constexpr std::uint64_t kIndirectDesc = std::uint64_t{1} << 28;
inline constexpr std::uint64_t kEventIdx = std::uint64_t{1} << 29;
inline constexpr std::uint64_t kVersion1 = std::uint64_t{1} << 32;
}  // namespace feature

/// A virtqueue as the driver set it up. Guest-given: the addresses and the size are checked by
/// Queue::create().
struct QueueConfig {
    std::uint16_t size = 0;    ///< descriptors, a power of two
    GuestAddress descriptors;  ///< descriptor table
    GuestAddress driver;       ///< available ring
    GuestAddress device;       ///< used ring
    bool enabled = false;
};

/// Where a queue's device side stands: with QueueConfig the whole migratable state of a queue.
struct QueuePosition {
    std::uint16_t next_avail = 0;  ///< next available-ring index to read
    std::uint16_t next_used = 0;   ///< next used-ring index to write

    bool operator==(const QueuePosition&) const = default;
};

/// How a machine's state is taken, and so what is asked of whoever serves a device from outside of hako.
enum class Move : std::uint8_t {
    kPaused,    ///< all of it at once, from a machine that stands still; also where memory is handed over
    kLive,      ///< memory while the machine runs: who writes it says where
    kPostcopy,  ///< the machine runs before its memory is there: who uses it comes through hako
};

/// What a device calls on its transport. Thread-safe; called from io threads.
/// Never waits for the lock that the transport holds while it calls the device: reset() waits for the io
/// thread.
class TransportHooks {
  public:
    virtual ~TransportHooks() = default;
    /// The eventfd that interrupts for used buffers of queue `index`, or -1 while the driver gave it no
    /// vector. Changes only while the guest changes it, so a device may ask once per batch.
    [[nodiscard]] virtual int queue_interrupt(std::uint16_t index) const = 0;
    /// Device configuration changed: new generation and a configuration interrupt.
    virtual void config_changed() = 0;
    /// The guest broke the rules beyond repair: DEVICE_NEEDS_RESET is set and the driver told
    /// (virtio 1.3, 2.1.2). `why` goes to the log, rate-limited. The device stops using its queues until
    /// reset.
    virtual void needs_reset(std::string_view why) = 0;
};

/// All that a device gets when the driver sets DRIVER_OK (or a restored device goes on).
struct Activation {
    std::uint64_t features = 0;  ///< negotiated
    GuestMemory& memory;
    TransportHooks& hooks;
    std::span<const QueueConfig> queues;       ///< one for each queue, enabled or not
    std::span<const EventFd> kicks;            ///< doorbell of each queue; signalled by KVM
    std::span<const QueuePosition> positions;  ///< empty, or where each queue stood when saved
};

/// A virtio device behind some transport.
///
/// The transport calls these from the control or a vCPU thread, one call at a time (it holds its own lock).
/// A device does its work on io threads; activate(), reset() and pause() hand over to them and wait.
/// Construction takes a config and, on restore, the saved state: there is no other way to restore.
class Device {
  public:
    virtual ~Device() = default;

    [[nodiscard]] virtual DeviceType type() const = 0;
    /// Features offered, VERSION_1 included. Constant.
    [[nodiscard]] virtual std::uint64_t features() const = 0;
    /// Largest size of each queue; its length is the number of queues. Constant.
    [[nodiscard]] virtual std::span<const std::uint16_t> queue_max_sizes() const = 0;

    /// Device-specific configuration. Reads beyond its end give zeros, writes there are ignored.
    virtual void read_config(std::uint32_t offset, std::span<std::byte> data) = 0;
    virtual void write_config(std::uint32_t offset, std::span<const std::byte> data) = 0;

    /// TransportHooks::queue_interrupt(index) may have changed: for devices that hand the eventfd on.
    virtual void queue_interrupt_changed(std::uint16_t /*index*/) {}

    /// Starts work on the queues. An error means the driver's queues are unusable: the transport sets
    /// NEEDS_RESET.
    virtual Result<> activate(const Activation& activation) = 0;
    /// Stops and forgets everything the driver set up; nothing is in flight when it returns. Fine when
    /// inactive.
    virtual void reset() = 0;

    /// Takes no new requests and returns once those in flight are done and visible to the guest.
    virtual void pause() = 0;
    virtual void resume() = 0;
    /// Where each queue stands; the device is paused or inactive (then: empty).
    [[nodiscard]] virtual std::vector<QueuePosition> queue_positions() const = 0;
};

}  // namespace hako::virtio
