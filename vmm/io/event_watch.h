// Wakes a piece of batch work whenever an eventfd is signalled: a doorbell in the ring.
#pragma once

#include "vmm/io/engine.h"

namespace hako::io {

/// A multishot poll on an eventfd. Each signal schedules `work`; nobody reads the counter.
///
/// Multishot polls are edge-triggered: a signal wakes them even while the counter is not 0, so a doorbell
/// costs no system call of its own. io thread only.
class EventWatch final : public Completion {
  public:
    /// All must outlive the watch.
    EventWatch(Engine& engine, BatchWork& work) : engine_(engine), work_(work) {}
    EventWatch(const EventWatch&) = delete;
    EventWatch& operator=(const EventWatch&) = delete;

    /// Starts. A signal from before counts too.
    void start(int eventfd);
    /// Asks for the end; `work` is scheduled when it has come. Until active() is false this must live.
    void stop();
    [[nodiscard]] bool active() const { return active_; }

    void complete(std::int32_t result, std::uint32_t flags) override;

  private:
    void arm();

    Engine& engine_;
    BatchWork& work_;
    int eventfd_ = -1;
    bool active_ = false;
    bool stopping_ = false;
};

}  // namespace hako::io
