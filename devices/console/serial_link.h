// Carries a UART's bytes between the vCPU threads and the io thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <latch>
#include <memory>

#include "devices/console/backend.h"
#include "devices/console/sink.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/result.h"
#include "vmm/io/engine.h"
#include "vmm/io/event_watch.h"
#include "vmm/io/timer.h"

namespace hako::console {

/// A ring that one thread at a time fills (the UART sees to that) and the io thread empties, without a lock.
/// The io thread is woken when it sleeps only, and then lets a guest that writes byte by byte fill a batch.
class SerialLink final : public Sink, private Port, private io::BatchWork {
  public:
    static constexpr std::uint32_t kRing = 16 * 1024;

    /// Both outlive the link.
    static Result<std::unique_ptr<SerialLink>> create(io::Engine& engine, Backend& backend);
    SerialLink(const SerialLink&) = delete;
    SerialLink& operator=(const SerialLink&) = delete;
    ~SerialLink() override;

    // From any thread.
    bool put(std::uint8_t byte) override;
    void input_wanted() override;

    // From the control thread.

    /// Connects the UART and starts the backend.
    void start(Port& uart);
    /// Hands on what the UART and the ring hold, waiting for a slow reader no longer than a second or two,
    /// disconnects the UART and stops the backend. Idempotent; start() may follow. Call it while the UART
    /// lives and no vCPU runs; the destructor does the rest of it without touching the UART.
    void stop();

  private:
    SerialLink(io::Engine& engine, Backend& backend, EventFd wake);

    // Port, on the io thread.
    std::size_t receive(std::span<const std::uint8_t> bytes) override;
    void writable() override;

    void run_batch() override;
    void drain();
    void hand_on();
    [[nodiscard]] bool empty() const;

    io::Engine& engine_;
    Backend& backend_;
    const EventFd wake_;
    io::EventWatch watch_;
    io::Timer batch_;
    Port* uart_ = nullptr;
    bool gathering_ = false;  ///< a batch_ has begun
    bool blocked_ = false;    ///< the backend has no room
    std::latch* idle_ = nullptr;

    std::array<std::uint8_t, kRing> ring_;
    std::atomic<std::uint32_t> head_{0};  ///< counts bytes put
    std::atomic<std::uint32_t> tail_{0};  ///< counts bytes handed on
    std::atomic<bool> awake_{false};      ///< the io thread will look without being woken
    std::atomic<bool> refused_{false};    ///< put() said no
    std::atomic<bool> wanted_{false};     ///< input_wanted() was called
};

}  // namespace hako::console
