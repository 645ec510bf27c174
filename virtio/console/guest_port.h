// One port of a console device, between its queues and its host end.
#pragma once

#include <cstdint>
#include <string>

#include "devices/console/backend.h"
#include "devices/console/sink.h"
#include "virtio/console/state.h"
#include "vmm/io/engine.h"

namespace hako::virtio::console {

class RxQueue;

/// Who sends control messages. io thread.
class ControlSender {
  public:
    /// The port has more to tell (message:: bits).
    virtual void tell(std::uint16_t port, std::uint8_t messages) = 0;

  protected:
    ~ControlSender() = default;
};

/// Lives as long as its device; its queues come and go with the driver. io thread, but for the constructor.
class GuestPort final : public hako::console::Port {
  public:
    /// `backend`: null if there is no host end. All of it outlives the port.
    GuestPort(std::uint16_t index, std::string name, hako::console::Backend* backend, ControlSender& control,
              io::Engine& engine)
        : index_(index), name_(std::move(name)), backend_(backend), control_(control), engine_(engine) {}

    [[nodiscard]] std::uint16_t index() const { return index_; }
    [[nodiscard]] bool is_console() const { return index_ == 0; }
    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] hako::console::Backend* backend() const { return backend_; }
    /// Whether the host listens: a console's output is kept for who comes later, so it always does.
    [[nodiscard]] bool host_open() const {
        return is_console() || (backend_ != nullptr && backend_->attached());
    }

    /// Null while the driver has none.
    void set_queues(RxQueue* receive, io::BatchWork* transmit) {
        receive_ = receive;
        transmit_ = transmit;
    }
    /// The guest may have room for input.
    void input_wanted() {
        if (backend_ != nullptr) backend_->input_wanted();
    }

    // hako::console::Port
    std::size_t receive(std::span<const std::uint8_t> bytes) override;
    void writable() override {
        if (transmit_ != nullptr) engine_.schedule(*transmit_);
    }
    void attached_changed() override { control_.tell(index_, message::kOpen); }
    void resized() override { control_.tell(index_, message::kResize); }

    PortState state;

  private:
    const std::uint16_t index_;
    const std::string name_;
    hako::console::Backend* const backend_;
    ControlSender& control_;
    io::Engine& engine_;
    RxQueue* receive_ = nullptr;
    io::BatchWork* transmit_ = nullptr;
};

}  // namespace hako::virtio::console
