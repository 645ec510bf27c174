// A virtio device that writes down what its transport tells it, and a doorbell registry that does the same.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "virtio/device.h"
#include "vmm/bus/kick.h"

namespace hako::test {

class FakeKicks final : public KickRegistry {
  public:
    Result<> connect_kick(int eventfd, const kvm::IoEventAddress& address) override {
        if (connected.size() >= limit) return fail_host("no ioeventfd left");
        if (address.space != kvm::IoEventAddress::Space::kMmio || address.length != 0 || address.value)
            return fail_host("not a doorbell for writes of any length");
        if (!connected.emplace(address.address, eventfd).second) return fail_host("the address is taken");
        return {};
    }
    Result<> disconnect_kick(int eventfd, const kvm::IoEventAddress& address) override {
        const auto found = connected.find(address.address);
        if (found == connected.end() || found->second != eventfd) return fail_host("not connected");
        connected.erase(found);
        return {};
    }

    std::size_t limit = 1000;
    std::map<std::uint64_t, int> connected;  ///< address -> eventfd
};

/// What happened to a FakeDevice; outlives it.
struct DeviceLog {
    int activations = 0;
    int resets = 0;
    int pauses = 0;
    int resumes = 0;
    bool active = false;
    bool alive = true;
    std::uint64_t features = 0;
    std::uint64_t config_end = 0;  ///< one past the furthest byte of device configuration asked for
    virtio::TransportHooks* hooks = nullptr;
    std::vector<virtio::QueueConfig> queues;
    std::vector<virtio::QueuePosition> positions;  ///< as activated
    std::vector<const EventFd*> kicks;
};

class FakeDevice final : public virtio::Device {
  public:
    static constexpr std::uint64_t kFeatures = virtio::feature::kVersion1 | virtio::feature::kEventIdx | 0x3;
    static constexpr std::size_t kConfigSize = 60;

    explicit FakeDevice(DeviceLog& log, std::vector<std::uint16_t> max_sizes = {256, 64})
        : log_(log), max_sizes_(std::move(max_sizes)) {
        for (std::size_t i = 0; i < kConfigSize; ++i)
            config[i] = static_cast<std::byte>(i);
    }
    ~FakeDevice() override { log_.alive = false; }

    [[nodiscard]] virtio::DeviceType type() const override { return virtio::DeviceType::kBlock; }
    [[nodiscard]] std::uint64_t features() const override { return kFeatures; }
    [[nodiscard]] std::span<const std::uint16_t> queue_max_sizes() const override { return max_sizes_; }

    void read_config(std::uint32_t offset, std::span<std::byte> data) override {
        log_.config_end = std::max(log_.config_end, offset + data.size());
        for (std::size_t i = 0; i < data.size(); ++i)
            data[i] = offset + i < kConfigSize ? config[offset + i] : std::byte{0};
    }
    void write_config(std::uint32_t offset, std::span<const std::byte> data) override {
        log_.config_end = std::max(log_.config_end, offset + data.size());
        for (std::size_t i = 0; i < data.size(); ++i)
            if (offset + i < kConfigSize) config[offset + i] = data[i];
    }

    Result<> activate(const virtio::Activation& activation) override {
        ++log_.activations;
        log_.features = activation.features;
        log_.hooks = &activation.hooks;
        log_.queues.assign(activation.queues.begin(), activation.queues.end());
        log_.positions.assign(activation.positions.begin(), activation.positions.end());
        log_.kicks.clear();
        for (const EventFd& kick : activation.kicks)
            log_.kicks.push_back(&kick);
        if (on_activate) on_activate(activation.hooks);
        if (refuse) return fail_input("{}", *refuse);
        log_.active = true;
        return {};
    }
    void reset() override {
        ++log_.resets;
        if (on_reset) on_reset();
        log_.active = false;
    }
    void pause() override { ++log_.pauses; }
    void resume() override { ++log_.resumes; }
    [[nodiscard]] std::vector<virtio::QueuePosition> queue_positions() const override {
        return log_.active ? now : std::vector<virtio::QueuePosition>{};
    }

    std::optional<std::string> refuse;  ///< why activate() fails
    std::function<void(virtio::TransportHooks&)> on_activate;
    std::function<void()> on_reset;
    std::vector<virtio::QueuePosition> now = {{.next_avail = 7, .next_used = 5},
                                              {.next_avail = 3, .next_used = 3}};
    std::array<std::byte, kConfigSize> config{};

  private:
    DeviceLog& log_;
    std::vector<std::uint16_t> max_sizes_;
};

}  // namespace hako::test
