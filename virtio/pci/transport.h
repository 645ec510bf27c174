// The modern virtio PCI transport: a virtio device as a PCI function. (virtio 1.3, 4.1)
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "devices/pci/address_space.h"
#include "devices/pci/function.h"
#include "devices/pci/msix.h"
#include "virtio/device.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/log.h"
#include "vmm/base/result.h"
#include "vmm/bus/interrupts.h"
#include "vmm/bus/kick.h"
#include "vmm/memory/guest_memory.h"
#include "vmm/state/fields.h"

namespace hako::virtio {

/// What a transport needs of the machine. All of it must outlive the transport.
struct PciServices {
    GuestMemory& memory;
    pci::AddressSpace& space;
    InterruptController& interrupts;
    KickRegistry& kicks;
};

/// One virtio device in a PCI slot. The PCI function's lock covers everything the guest does to it.
///
/// The device's io threads call the TransportHooks while a vCPU thread may hold that lock and wait for them
/// (reset, activation, pause): so the hooks take no lock; all they touch is atomic or never changes.
///
/// Bus master: queues are served from DRIVER_OK on whether or not the guest set it, but MSI-X messages are
/// held back, pending, while it is clear. Linux sets it before DRIVER_OK and clears it only after a reset.
///
/// There is no INTx pin: a driver without MSI-X has to poll. The ISR register reports configuration changes
/// only.
class PciTransport final : public pci::Function, private TransportHooks {
  public:
    struct QueueState {
        std::uint16_t size = 0;
        bool enabled = false;
        std::uint16_t vector = 0;
        std::uint64_t descriptors = 0;
        std::uint64_t driver = 0;
        std::uint64_t device = 0;
        std::uint16_t next_avail = 0;  ///< QueuePosition
        std::uint16_t next_used = 0;

        bool operator==(const QueueState&) const = default;
    };
    struct State {
        pci::Function::State function;
        pci::Msix::State msix;
        std::uint8_t status = 0;
        std::uint64_t driver_features = 0;
        std::uint32_t device_feature_select = 0;
        std::uint32_t driver_feature_select = 0;
        std::uint16_t queue_select = 0;
        std::uint16_t config_vector = 0;
        std::uint8_t generation = 0;
        std::uint8_t isr = 0;
        std::vector<QueueState> queues;

        bool operator==(const State&) const = default;
    };

    static constexpr std::uint16_t kMaxQueues = 512;
    static constexpr unsigned kBar = 0;
    static constexpr std::uint64_t kBarSize = 0x8000;

    /// Put it into a slot with HostBridge::add(). `name` is for log lines.
    ///
    /// With `restored` it goes on where state() was taken, but paused: a device that was running is
    /// activated, at its old queue positions, by the first resume(), which also signals each kick and each
    /// queue interrupt once, lest one got lost on the way.
    static Result<std::unique_ptr<PciTransport>> create(std::string name, std::unique_ptr<Device> device,
                                                        const PciServices& services,
                                                        std::optional<State> restored = std::nullopt);
    ~PciTransport() override;

    [[nodiscard]] Device& device() { return *device_; }

    /// Control thread. Between the two the device takes no request, and state() is whole.
    void pause();
    void resume();
    /// Calls `work()` while nobody else calls the device.
    template <typename Work>
    auto exclusively(Work work) {
        const std::lock_guard lock(mutex());
        return work();
    }
    /// Paused, or with the vCPUs stopped and the device inactive.
    [[nodiscard]] State state() const;

  private:
    struct QueueSetup {
        std::uint16_t size = 0;
        bool enabled = false;
        std::uint64_t descriptors = 0;
        std::uint64_t driver = 0;
        std::uint64_t device = 0;

        bool operator==(const QueueSetup&) const = default;
    };
    /// What the driver asks for through VIRTIO_PCI_CAP_PCI_CFG.
    struct WindowAccess {
        std::uint32_t offset = 0;
        std::uint32_t length = 0;
    };

    PciTransport(std::string name, std::unique_ptr<Device> device, const PciServices& services,
                 pci::Msix msix, std::vector<EventFd> kicks, std::optional<pci::Function::State> restored);
    Result<> build(const State* restored);
    Result<> restore(const State& state);

    // pci::Function
    void read_bar(unsigned index, std::uint64_t offset, std::span<std::byte> data) override;
    void write_bar(unsigned index, std::uint64_t offset, std::span<const std::byte> data) override;
    void bar_mapped(unsigned index, std::uint64_t address) override;
    void bar_unmapped(unsigned index, std::uint64_t address) override;
    void before_config_read(std::uint32_t offset, std::size_t length) override;
    void after_config_write(std::uint32_t offset, std::size_t length) override;

    // TransportHooks: io threads, no lock.
    [[nodiscard]] int queue_interrupt(std::uint16_t index) const override;
    void config_changed() override;
    void needs_reset(std::string_view why) override;

    void read_common(std::uint64_t offset, std::span<std::byte> data) const;
    void write_common(std::uint64_t offset, std::span<const std::byte> data);
    void write_queue_field(std::uint64_t offset, std::size_t length, std::uint64_t value);
    void write_status(std::uint8_t value);
    void notify(std::uint64_t offset);
    void update_msix();
    [[nodiscard]] bool touches_window(std::uint32_t offset, std::size_t length) const;
    [[nodiscard]] std::optional<WindowAccess> window_access() const;
    [[nodiscard]] bool acceptable(std::uint64_t features) const;
    void start();
    void reset();
    void forget_driver();
    void misuse(std::string_view why);
    void raise_config_interrupt();
    [[nodiscard]] std::uint16_t checked_vector(std::uint64_t vector) const;
    [[nodiscard]] bool has_status(std::uint8_t bit) const { return (status_.load() & bit) != 0; }

    std::unique_ptr<Device> device_;
    GuestMemory& memory_;
    KickRegistry& kick_registry_;
    pci::Msix msix_;
    const std::vector<EventFd> kicks_;
    std::vector<bool> kick_connected_;
    std::uint16_t msix_capability_ = 0;  ///< offsets in configuration space
    std::uint16_t window_capability_ = 0;

    // What io threads touch too.
    std::atomic<std::uint8_t> status_{0};
    std::atomic<std::uint8_t> generation_{0};
    std::atomic<std::uint8_t> isr_{0};
    std::atomic<std::uint16_t> config_vector_{0};
    std::vector<std::atomic<std::uint16_t>> queue_vectors_;
    LogLimit log_limit_;

    std::uint64_t driver_features_ = 0;
    std::uint32_t device_feature_select_ = 0;
    std::uint32_t driver_feature_select_ = 0;
    std::uint16_t queue_select_ = 0;
    std::vector<QueueSetup> queues_;
    bool active_ = false;
    bool paused_ = false;
    bool replay_signals_ = false;           ///< restored: the next resume() signals everything once
    std::vector<QueuePosition> positions_;  ///< of a restored device until it is activated
};

}  // namespace hako::virtio

namespace hako::state {

template <>
struct Fields<virtio::PciTransport::QueueState> {
    using T = virtio::PciTransport::QueueState;
    static constexpr auto list =
        std::tuple(field("size", &T::size), field("enabled", &T::enabled), field("vector", &T::vector),
                   hex("descriptors", &T::descriptors), hex("driver", &T::driver), hex("device", &T::device),
                   field("next_avail", &T::next_avail), field("next_used", &T::next_used));
};

template <>
struct Fields<virtio::PciTransport::State> {
    using T = virtio::PciTransport::State;
    static constexpr auto list = std::tuple(
        field("function", &T::function), field("msix", &T::msix), hex("status", &T::status),
        hex("driver_features", &T::driver_features),
        field("device_feature_select", &T::device_feature_select),
        field("driver_feature_select", &T::driver_feature_select), field("queue_select", &T::queue_select),
        field("config_vector", &T::config_vector), field("generation", &T::generation), field("isr", &T::isr),
        upto(virtio::PciTransport::kMaxQueues, "queues", &T::queues));
};

}  // namespace hako::state
