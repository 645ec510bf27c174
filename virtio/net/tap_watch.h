// Tells when a tap has packets.
#pragma once

#include "vmm/io/engine.h"

namespace hako::virtio::net {

/// A multishot poll on a tap: io::EventWatch for a file whose content is not a counter. Each packet that
/// comes in makes ready() true and schedules `work`. io thread only.
class TapWatch final : public io::Completion {
  public:
    /// Both must outlive the watch.
    TapWatch(io::Engine& engine, io::BatchWork& work) : engine_(engine), work_(work) {}
    TapWatch(const TapWatch&) = delete;
    TapWatch& operator=(const TapWatch&) = delete;

    void start(const io::FileRef& tap);
    /// Asks for the end; `work` is scheduled when it has come. Until active() is false this must live.
    void stop();
    [[nodiscard]] bool active() const { return active_; }
    /// Nobody is to hear of packets until listen(); what is ready stays so.
    void hush();
    /// Undoes hush(), if need be.
    void listen();

    /// Whether a read may find something.
    [[nodiscard]] bool ready() const { return ready_; }
    /// A read found nothing: not ready until the next packet.
    void drained() { ready_ = false; }

    void complete(std::int32_t result, std::uint32_t flags) override;

  private:
    void arm();
    void cancel();

    io::Engine& engine_;
    io::BatchWork& work_;
    io::FileRef tap_;
    bool wanted_ = false;
    bool hushed_ = false;
    bool active_ = false;
    bool ready_ = false;
};

}  // namespace hako::virtio::net
