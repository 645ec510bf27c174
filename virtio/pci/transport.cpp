#include "virtio/pci/transport.h"

#include <algorithm>
#include <array>
#include <bit>
#include <mutex>
#include <utility>

#include "vmm/base/units.h"

namespace hako::virtio {
namespace {

// The one BAR. Each part has pages of its own.
constexpr std::uint32_t kCommonOffset = 0x0000;
constexpr std::uint32_t kIsrOffset = 0x1000;
constexpr std::uint32_t kDeviceOffset = 0x2000;
constexpr std::uint32_t kNotifyOffset = 0x3000;
constexpr std::uint32_t kTableOffset = 0x4000;
constexpr std::uint32_t kPendingOffset = 0x7000;
constexpr std::uint32_t kPartSize = 0x1000;
constexpr std::uint32_t kNotifyMultiplier = 4;
static_assert(PciTransport::kMaxQueues * kNotifyMultiplier <= kPartSize);
static_assert((PciTransport::kMaxQueues + 1) * pci::Msix::kEntrySize <= kPendingOffset - kTableOffset);

// struct virtio_pci_common_cfg (4.1.4.3).
namespace common {
constexpr std::uint64_t kDeviceFeatureSelect = 0x00;
constexpr std::uint64_t kDeviceFeature = 0x04;
constexpr std::uint64_t kDriverFeatureSelect = 0x08;
constexpr std::uint64_t kDriverFeature = 0x0c;
constexpr std::uint64_t kConfigVector = 0x10;
constexpr std::uint64_t kNumQueues = 0x12;
constexpr std::uint64_t kStatus = 0x14;
constexpr std::uint64_t kGeneration = 0x15;
constexpr std::uint64_t kQueueSelect = 0x16;
constexpr std::uint64_t kQueueSize = 0x18;
constexpr std::uint64_t kQueueVector = 0x1a;
constexpr std::uint64_t kQueueEnable = 0x1c;
constexpr std::uint64_t kQueueNotifyOff = 0x1e;
constexpr std::uint64_t kQueueDescriptors = 0x20;
constexpr std::uint64_t kQueueDriver = 0x28;
constexpr std::uint64_t kQueueDevice = 0x30;
constexpr std::uint64_t kQueueAddressesEnd = 0x38;
constexpr std::uint32_t kSize = 0x40;  ///< with the fields of features that are not offered: they read as 0
}  // namespace common

// struct virtio_pci_cap (4.1.4) and its cfg_type values.
constexpr std::uint8_t kCapCommon = 1;
constexpr std::uint8_t kCapNotify = 2;
constexpr std::uint8_t kCapIsr = 3;
constexpr std::uint8_t kCapDevice = 4;
constexpr std::uint8_t kCapPci = 5;
constexpr std::size_t kCapLength = 16;
// Offsets within the VIRTIO_PCI_CAP_PCI_CFG capability (4.1.4.9).
constexpr std::uint16_t kWindowBar = 4;
constexpr std::uint16_t kWindowOffset = 8;
constexpr std::uint16_t kWindowLength = 12;
constexpr std::uint16_t kWindowData = 16;

constexpr std::uint16_t kVendor = 0x1af4;
constexpr std::uint16_t kFirstDevice = 0x1040;  ///< plus the device type (4.1.2)
constexpr std::uint16_t kNoVector = 0xffff;
constexpr std::uint8_t kIsrConfig = 2;
constexpr std::uint8_t kDriverBits =
    status::kAcknowledge | status::kDriver | status::kDriverOk | status::kFeaturesOk | status::kFailed;
constexpr std::uint8_t kAllBits = kDriverBits | status::kNeedsReset;

std::uint32_t class_code(DeviceType type) {
    switch (type) {
        case DeviceType::kBlock:
            return 0x018000;
        case DeviceType::kNet:
            return 0x020000;
        case DeviceType::kConsole:
            return 0x078000;
        default:
            return 0xff0000;
    }
}

pci::Identity identity(DeviceType type) {
    const auto device = static_cast<std::uint16_t>(kFirstDevice + static_cast<std::uint16_t>(type));
    return {.vendor = kVendor,
            .device = device,
            .class_code = class_code(type),
            .revision = 1,
            .subsystem_vendor = kVendor,
            .subsystem = device};
}

/// The body of a struct virtio_pci_cap of `length` bytes, without the two bytes that every capability starts
/// with.
std::vector<std::uint8_t> capability_body(std::uint8_t type, std::uint32_t offset, std::uint32_t size,
                                          std::size_t length = kCapLength) {
    std::vector<std::uint8_t> whole(length);
    const auto bytes = std::as_writable_bytes(std::span(whole));
    whole[2] = static_cast<std::uint8_t>(length);
    whole[3] = type;
    whole[kWindowBar] = PciTransport::kBar;
    store_le(bytes.subspan(kWindowOffset, 4), offset);
    store_le(bytes.subspan(kWindowLength, 4), size);
    return {whole.begin() + 2, whole.end()};
}

bool valid_queue_size(std::uint64_t size, std::uint16_t max) {
    return std::has_single_bit(size) && size <= max;
}

/// `old` with the 4-byte half (or all 8 bytes) at `offset` replaced.
std::uint64_t replace_half(std::uint64_t old, std::uint64_t offset, std::size_t length, std::uint64_t value) {
    if (length == 8) return value;
    const std::uint64_t shift = 8 * (offset % 8);
    return (old & ~(std::uint64_t{0xffffffff} << shift)) | value << shift;
}

}  // namespace

Result<std::unique_ptr<PciTransport>> PciTransport::create(std::string name, std::unique_ptr<Device> device,
                                                           const PciServices& services,
                                                           std::optional<State> restored) {
    const auto max_sizes = device->queue_max_sizes();
    if (max_sizes.size() > kMaxQueues)
        return fail_host("{}: {} queues, the transport has room for {}", name, max_sizes.size(), kMaxQueues);
    for (const std::uint16_t size : max_sizes)
        if (!std::has_single_bit(size)) return fail_host("{}: queue size {} is no power of two", name, size);
    if ((device->features() & feature::kVersion1) == 0)
        return fail_host("{}: VERSION_1 is not offered", name);

    const State* const state = restored ? &*restored : nullptr;
    const auto vectors = static_cast<std::uint16_t>(max_sizes.size() + 1);
    pci::Msix msix = HAKO_TRY_WRAP(
        pci::Msix::create(services.interrupts, vectors, state == nullptr ? nullptr : &state->msix), "{}",
        name);
    std::vector<EventFd> kicks(max_sizes.size());
    for (EventFd& kick : kicks)
        kick = HAKO_TRY_WRAP(EventFd::create(), "{}", name);

    std::optional<pci::Function::State> function_state;
    if (restored) function_state = restored->function;
    std::unique_ptr<PciTransport> transport(new PciTransport(std::move(name), std::move(device), services,
                                                             std::move(msix), std::move(kicks),
                                                             std::move(function_state)));
    HAKO_TRY(transport->build(state));
    return transport;
}

PciTransport::PciTransport(std::string name, std::unique_ptr<Device> device, const PciServices& services,
                           pci::Msix msix, std::vector<EventFd> kicks,
                           std::optional<pci::Function::State> restored)
    : Function(services.space, std::move(name), identity(device->type()), std::move(restored)),
      device_(std::move(device)),
      memory_(services.memory),
      kick_registry_(services.kicks),
      msix_(std::move(msix)),
      kicks_(std::move(kicks)),
      kick_connected_(kicks_.size()),
      queue_vectors_(kicks_.size()) {
    forget_driver();
}

Result<> PciTransport::build(const State* restored) {
    HAKO_TRY(add_bar(kBar, pci::BarType::kMemory64, kBarSize));

    const auto queues = static_cast<std::uint32_t>(queues_.size());
    const auto add = [this](const std::vector<std::uint8_t>& body,
                            std::span<const std::uint8_t> writable = {}) {
        return add_capability(pci::capability::kVendor, body, writable);
    };
    HAKO_TRY(add(capability_body(kCapCommon, kCommonOffset, common::kSize)));
    std::vector<std::uint8_t> notify = capability_body(
        kCapNotify, kNotifyOffset, std::max(queues, std::uint32_t{1}) * kNotifyMultiplier, kCapLength + 4);
    store_le(std::as_writable_bytes(std::span(notify)).last(4), kNotifyMultiplier);
    HAKO_TRY(add(notify));
    HAKO_TRY(add(capability_body(kCapIsr, kIsrOffset, 1)));
    HAKO_TRY(add(capability_body(kCapDevice, kDeviceOffset, kPartSize)));

    // The driver chooses bar, offset, length and data: everything but the lengths, types and padding.
    std::vector<std::uint8_t> writable(kCapLength + 4 - 2);
    writable[kWindowBar - 2] = 0xff;
    std::fill(writable.begin() + (kWindowOffset - 2), writable.end(), std::uint8_t{0xff});
    window_capability_ = HAKO_TRY(add(capability_body(kCapPci, 0, 0, kCapLength + 4), writable));

    const auto msix_body = msix_.capability_body(kBar, kTableOffset, kPendingOffset);
    msix_capability_ =
        HAKO_TRY(add_capability(pci::capability::kMsix, msix_body, pci::Msix::capability_writable()));

    if (restored != nullptr) HAKO_TRY_WRAP(restore(*restored), "{}", name());
    HAKO_TRY(finish_config());
    const std::lock_guard lock(mutex());
    update_msix();
    return {};
}

Result<> PciTransport::restore(const State& state) {
    const auto max_sizes = device_->queue_max_sizes();
    if (state.queues.size() != queues_.size())
        return fail_input("{} queues were saved, the device has {}", state.queues.size(), queues_.size());
    if ((state.status & status::kFeaturesOk) != 0 && !acceptable(state.driver_features))
        return fail_input("the saved driver uses features {:#x}, this device offers {:#x}",
                          state.driver_features, device_->features());
    if ((state.status & ~kAllBits) != 0)
        return fail_input("saved device status {:#x} is unknown", state.status);
    if ((state.status & status::kDriverOk) != 0 && (state.status & status::kFeaturesOk) == 0)
        return fail_input("saved device status {:#x} has DRIVER_OK without FEATURES_OK", state.status);
    for (std::size_t i = 0; i < queues_.size(); ++i) {
        const QueueState& saved = state.queues[i];
        if (!valid_queue_size(saved.size, max_sizes[i]))
            return fail_input("queue {} was saved with {} entries, it has at most {}", i, saved.size,
                              max_sizes[i]);
        if (saved.vector != checked_vector(saved.vector))
            return fail_input("queue {} was saved with interrupt vector {} of {}", i, saved.vector,
                              msix_.vectors());
        queues_[i] = {.size = saved.size,
                      .enabled = saved.enabled,
                      .descriptors = saved.descriptors,
                      .driver = saved.driver,
                      .device = saved.device};
        queue_vectors_[i] = saved.vector;
        if ((state.status & status::kDriverOk) != 0)
            positions_.push_back({.next_avail = saved.next_avail, .next_used = saved.next_used});
    }
    if (state.config_vector != checked_vector(state.config_vector))
        return fail_input("configuration interrupt vector {} of {}", state.config_vector, msix_.vectors());
    status_ = state.status;
    generation_ = state.generation;
    isr_ = state.isr;
    config_vector_ = state.config_vector;
    driver_features_ = state.driver_features;
    device_feature_select_ = state.device_feature_select;
    driver_feature_select_ = state.driver_feature_select;
    queue_select_ = state.queue_select;
    paused_ = true;
    replay_signals_ = true;
    return {};
}

PciTransport::~PciTransport() {
    {
        const std::lock_guard lock(mutex());
        device_->reset();
    }
    unmap_bars();
}

void PciTransport::pause() {
    const std::lock_guard lock(mutex());
    if (std::exchange(paused_, true)) return;
    if (active_) device_->pause();
}

void PciTransport::resume() {
    const std::lock_guard lock(mutex());
    if (!std::exchange(paused_, false)) return;
    if (active_)
        device_->resume();
    else if (has_status(status::kDriverOk) && !has_status(status::kNeedsReset))
        start();

    if (!std::exchange(replay_signals_, false) || !has_status(status::kDriverOk)) return;
    for (std::size_t i = 0; i < queues_.size(); ++i) {
        if (!queues_[i].enabled) continue;
        kicks_[i].signal();
        if (const EventFd* const event = msix_.event(queue_vectors_[i])) event->signal();
    }
    if (const EventFd* const event = msix_.event(config_vector_)) event->signal();
}

PciTransport::State PciTransport::state() const {
    const std::lock_guard lock(mutex());
    State state{.function = function_state(),
                .msix = msix_.state(),
                .status = status_,
                .driver_features = driver_features_,
                .device_feature_select = device_feature_select_,
                .driver_feature_select = driver_feature_select_,
                .queue_select = queue_select_,
                .config_vector = config_vector_,
                .generation = generation_,
                .isr = isr_,
                .queues = {}};
    const std::vector<QueuePosition> positions = active_ ? device_->queue_positions() : positions_;
    for (std::size_t i = 0; i < queues_.size(); ++i) {
        const QueueSetup& queue = queues_[i];
        const QueuePosition position = i < positions.size() ? positions[i] : QueuePosition{};
        state.queues.push_back({.size = queue.size,
                                .enabled = queue.enabled,
                                .vector = queue_vectors_[i],
                                .descriptors = queue.descriptors,
                                .driver = queue.driver,
                                .device = queue.device,
                                .next_avail = position.next_avail,
                                .next_used = position.next_used});
    }
    return state;
}

// The BAR.

void PciTransport::read_bar(unsigned, std::uint64_t offset, std::span<std::byte> data) {
    store_le(data, 0);
    if (offset < kIsrOffset) {
        read_common(offset, data);
    } else if (offset < kDeviceOffset) {
        // Reading clears it (4.1.4.5).
        if (offset == kIsrOffset) store_le(data, isr_.exchange(0));
    } else if (offset < kNotifyOffset) {
        const std::uint64_t at = offset - kDeviceOffset;
        if (data.size() <= kPartSize - at) device_->read_config(static_cast<std::uint32_t>(at), data);
    } else if (offset >= kPendingOffset) {
        msix_.read_pending(offset - kPendingOffset, data);
    } else if (offset >= kTableOffset) {
        msix_.read_table(offset - kTableOffset, data);
    }
}

void PciTransport::write_bar(unsigned, std::uint64_t offset, std::span<const std::byte> data) {
    if (offset < kIsrOffset) {
        write_common(offset, data);
    } else if (offset < kDeviceOffset) {
        // The ISR register is read-only.
    } else if (offset < kNotifyOffset) {
        const std::uint64_t at = offset - kDeviceOffset;
        if (data.size() <= kPartSize - at) device_->write_config(static_cast<std::uint32_t>(at), data);
    } else if (offset < kTableOffset) {
        notify(offset - kNotifyOffset);
    } else if (offset < kPendingOffset) {
        msix_.write_table(offset - kTableOffset, data);
    }
}

/// Only when no ioeventfd took the write: KVM had none left, or it came through configuration space.
void PciTransport::notify(std::uint64_t offset) {
    if (offset % kNotifyMultiplier == 0 && offset / kNotifyMultiplier < kicks_.size())
        kicks_[offset / kNotifyMultiplier].signal();
}

void PciTransport::bar_mapped(unsigned, std::uint64_t address) {
    for (std::size_t i = 0; i < kicks_.size(); ++i) {
        const kvm::IoEventAddress doorbell{.address = address + kNotifyOffset + i * kNotifyMultiplier};
        const auto done = kick_registry_.connect_kick(kicks_[i].fd(), doorbell);
        kick_connected_[i] = done.has_value();
        if (!done)
            log_limit_.warn("{}: queue {} is notified the slow way, by exits: {}", name(), i,
                            done.error().text());
    }
}

void PciTransport::bar_unmapped(unsigned, std::uint64_t address) {
    for (std::size_t i = 0; i < kicks_.size(); ++i) {
        if (!kick_connected_[i]) continue;
        kick_connected_[i] = false;
        const kvm::IoEventAddress doorbell{.address = address + kNotifyOffset + i * kNotifyMultiplier};
        if (const auto done = kick_registry_.disconnect_kick(kicks_[i].fd(), doorbell); !done)
            log_limit_.warn("{}: queue {}: {}", name(), i, done.error().text());
    }
}

// Configuration space: MSI-X control and the window of VIRTIO_PCI_CAP_PCI_CFG.

void PciTransport::before_config_read(std::uint32_t offset, std::size_t length) {
    if (!touches_window(offset, length)) return;
    if (const auto access = window_access()) {
        std::array<std::byte, 4> data{};
        read_bar(kBar, access->offset, std::span(data).first(access->length));
        std::array<std::uint8_t, 4> bytes{};
        std::ranges::transform(data, bytes.begin(),
                               [](std::byte byte) { return std::to_integer<std::uint8_t>(byte); });
        config().set(static_cast<std::uint16_t>(window_capability_ + kWindowData),
                     std::span(bytes).first(access->length));
    }
}

void PciTransport::after_config_write(std::uint32_t offset, std::size_t length) {
    update_msix();
    if (!touches_window(offset, length)) return;
    if (const auto access = window_access()) {
        std::array<std::byte, 4> data{};
        store_le(data, config().get32(static_cast<std::uint16_t>(window_capability_ + kWindowData)));
        write_bar(kBar, access->offset, std::span(data).first(access->length));
    }
}

bool PciTransport::touches_window(std::uint32_t offset, std::size_t length) const {
    const std::uint32_t data = window_capability_ + std::uint32_t{kWindowData};
    return offset < data + 4 && offset + length > data;
}

std::optional<PciTransport::WindowAccess> PciTransport::window_access() const {
    const auto at = [this](std::uint16_t field) {
        return static_cast<std::uint16_t>(window_capability_ + field);
    };
    const std::uint32_t offset = config().get32(at(kWindowOffset));
    const std::uint32_t length = config().get32(at(kWindowLength));
    if (config().get8(at(kWindowBar)) != kBar || (length != 1 && length != 2 && length != 4))
        return std::nullopt;
    if (offset % length != 0 || offset >= kBarSize) return std::nullopt;
    return WindowAccess{.offset = offset, .length = length};
}

void PciTransport::update_msix() {
    msix_.set_control(config().get16(static_cast<std::uint16_t>(msix_capability_ + 2)),
                      config().bus_master());
}

// Common configuration.

void PciTransport::read_common(std::uint64_t offset, std::span<std::byte> data) const {
    if (offset >= common::kSize || data.size() > common::kSize - offset) return;
    std::array<std::byte, common::kSize> bytes{};
    const auto put = [&bytes](std::uint64_t at, std::size_t length, std::uint64_t value) {
        store_le(std::span(bytes).subspan(at, length), value);
    };
    const auto word = [](std::uint64_t features, std::uint32_t select) {
        return select < 2 ? features >> (32 * select) : 0;
    };
    put(common::kDeviceFeatureSelect, 4, device_feature_select_);
    put(common::kDeviceFeature, 4, word(device_->features(), device_feature_select_));
    put(common::kDriverFeatureSelect, 4, driver_feature_select_);
    put(common::kDriverFeature, 4, word(driver_features_, driver_feature_select_));
    put(common::kConfigVector, 2, config_vector_);
    put(common::kNumQueues, 2, queues_.size());
    put(common::kStatus, 1, status_);
    put(common::kGeneration, 1, generation_);
    put(common::kQueueSelect, 2, queue_select_);
    if (queue_select_ < queues_.size()) {
        const QueueSetup& queue = queues_[queue_select_];
        put(common::kQueueSize, 2, queue.size);
        put(common::kQueueVector, 2, queue_vectors_[queue_select_]);
        put(common::kQueueEnable, 2, queue.enabled ? 1 : 0);
        put(common::kQueueNotifyOff, 2, queue_select_);
        put(common::kQueueDescriptors, 8, queue.descriptors);
        put(common::kQueueDriver, 8, queue.driver);
        put(common::kQueueDevice, 8, queue.device);
    } else {
        put(common::kQueueVector, 2, kNoVector);
    }
    std::ranges::copy(std::span(bytes).subspan(offset, data.size()), data.begin());
}

/// Fields take writes of their own width (64-bit ones also halves); anything else is ignored.
void PciTransport::write_common(std::uint64_t offset, std::span<const std::byte> data) {
    const std::uint64_t value = load_le(data);
    const auto field = [&](std::uint64_t at, std::size_t length) {
        return offset == at && data.size() == length;
    };

    if (field(common::kDeviceFeatureSelect, 4)) {
        device_feature_select_ = static_cast<std::uint32_t>(value);
    } else if (field(common::kDriverFeatureSelect, 4)) {
        driver_feature_select_ = static_cast<std::uint32_t>(value);
    } else if (field(common::kDriverFeature, 4)) {
        if (driver_feature_select_ >= 2) return;
        const std::uint64_t features =
            replace_half(driver_features_, std::uint64_t{4} * driver_feature_select_, 4, value);
        if (features == driver_features_) return;
        if (has_status(status::kFeaturesOk)) return misuse("the driver changed features after FEATURES_OK");
        driver_features_ = features;
    } else if (field(common::kConfigVector, 2)) {
        config_vector_ = checked_vector(value);
    } else if (field(common::kStatus, 1)) {
        write_status(static_cast<std::uint8_t>(value));
    } else if (field(common::kQueueSelect, 2)) {
        queue_select_ = static_cast<std::uint16_t>(value);
    } else if (queue_select_ < queues_.size()) {
        write_queue_field(offset, data.size(), value);
    }
}

void PciTransport::write_queue_field(std::uint64_t offset, std::size_t length, std::uint64_t value) {
    if (offset == common::kQueueVector && length == 2) {
        queue_vectors_[queue_select_] = checked_vector(value);
        if (active_) device_->queue_interrupt_changed(queue_select_);
        return;
    }

    QueueSetup& queue = queues_[queue_select_];
    QueueSetup wanted = queue;
    if (offset == common::kQueueSize && length == 2) {
        wanted.size = static_cast<std::uint16_t>(value);
    } else if (offset == common::kQueueEnable && length == 2) {
        if (value > 1 || (value == 0 && queue.enabled)) return misuse("the driver tried to disable a queue");
        wanted.enabled = value == 1;
    } else if (offset >= common::kQueueDescriptors && offset < common::kQueueAddressesEnd &&
               (length == 4 || length == 8) && offset % length == 0) {
        std::uint64_t& address = offset < common::kQueueDriver   ? wanted.descriptors
                                 : offset < common::kQueueDevice ? wanted.driver
                                                                 : wanted.device;
        address = replace_half(address, offset, length, value);
    }
    if (wanted == queue) return;
    if (has_status(status::kDriverOk)) return misuse("the driver set up a queue after DRIVER_OK");
    if (queue.enabled) return misuse("the driver changed an enabled queue");
    if (!valid_queue_size(wanted.size, device_->queue_max_sizes()[queue_select_]))
        return misuse("the driver chose a queue size that is no power of two or too large");
    queue = wanted;
}

void PciTransport::write_status(std::uint8_t value) {
    if (value == 0) return reset();
    // Only a reset clears bits (3.1.1, 2.1.1).
    auto added = static_cast<std::uint8_t>(value & kDriverBits & ~status_.load());
    if ((added & status::kFeaturesOk) != 0 && !acceptable(driver_features_)) {
        log_limit_.warn(
            "{}: the driver accepts features {:#x} of {:#x} (VERSION_1 is required): FEATURES_OK refused",
            name(), driver_features_, device_->features());
        added = static_cast<std::uint8_t>(added & ~status::kFeaturesOk);
    }
    status_.fetch_or(static_cast<std::uint8_t>(added & ~status::kDriverOk));
    if ((added & status::kDriverOk) == 0) return;
    if (has_status(status::kNeedsReset)) {
        // It does not start, and the driver hears why as soon as it listens (2.1.2).
        status_.fetch_or(status::kDriverOk);
        raise_config_interrupt();
        return;
    }
    if (!has_status(status::kFeaturesOk)) return misuse("DRIVER_OK without FEATURES_OK");
    // Before the device starts, so that it may ask for a reset from its first moment.
    status_.fetch_or(status::kDriverOk);
    if (!paused_) start();
}

bool PciTransport::acceptable(std::uint64_t features) const {
    return (features & ~device_->features()) == 0 && (features & feature::kVersion1) != 0;
}

void PciTransport::start() {
    std::vector<QueueConfig> queues;
    queues.reserve(queues_.size());
    for (const QueueSetup& queue : queues_)
        queues.push_back({.size = queue.size,
                          .descriptors = GuestAddress{queue.descriptors},
                          .driver = GuestAddress{queue.driver},
                          .device = GuestAddress{queue.device},
                          .enabled = queue.enabled});
    const std::vector<QueuePosition> positions = std::exchange(positions_, {});
    const auto done = device_->activate({.features = driver_features_,
                                         .memory = memory_,
                                         .hooks = *this,
                                         .queues = queues,
                                         .kicks = kicks_,
                                         .positions = positions});
    active_ = true;
    if (!done) misuse(done.error().text());
}

void PciTransport::reset() {
    device_->reset();
    active_ = false;
    forget_driver();
    for (const EventFd& kick : kicks_)
        kick.take();
    msix_.drop_pending();
}

void PciTransport::forget_driver() {
    queues_.clear();
    for (const std::uint16_t size : device_->queue_max_sizes())
        queues_.push_back({.size = size});
    for (auto& vector : queue_vectors_)
        vector = kNoVector;
    config_vector_ = kNoVector;
    driver_features_ = 0;
    device_feature_select_ = 0;
    driver_feature_select_ = 0;
    queue_select_ = 0;
    positions_.clear();
    replay_signals_ = false;
    isr_ = 0;
    status_ = 0;
}

/// The guest broke a rule of this transport: what it asked for is not done, and the device works no more.
void PciTransport::misuse(std::string_view why) {
    needs_reset(why);
    if (!std::exchange(active_, false)) return;
    device_->reset();
}

std::uint16_t PciTransport::checked_vector(std::uint64_t vector) const {
    return vector < msix_.vectors() ? static_cast<std::uint16_t>(vector) : kNoVector;
}

// TransportHooks.

int PciTransport::queue_interrupt(std::uint16_t index) const {
    if (index >= queue_vectors_.size()) return -1;
    const EventFd* const event = msix_.event(queue_vectors_[index]);
    return event == nullptr ? -1 : event->fd();
}

void PciTransport::config_changed() {
    generation_.fetch_add(1);
    if (has_status(status::kDriverOk)) raise_config_interrupt();
}

void PciTransport::needs_reset(std::string_view why) {
    log_limit_.warn("{}: stopped until the driver resets it: {}", name(), why);
    const std::uint8_t before = status_.fetch_or(status::kNeedsReset);
    if ((before & status::kDriverOk) != 0 && (before & status::kNeedsReset) == 0) raise_config_interrupt();
}

void PciTransport::raise_config_interrupt() {
    isr_.fetch_or(kIsrConfig);
    if (const EventFd* const event = msix_.event(config_vector_)) event->signal();
}

}  // namespace hako::virtio
