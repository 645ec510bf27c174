// MSI-X: a function's interrupt vectors and the table through which the guest steers them. (PCI 3.0, 6.8.2)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vmm/base/log.h"
#include "vmm/base/result.h"
#include "vmm/bus/interrupts.h"
#include "vmm/state/fields.h"

namespace hako::pci {

/// The vectors, their table and their pending bits. The function's lock covers all but event().
///
/// A vector is live while MSI-X is on, the function may master the bus, and neither the function mask nor the
/// vector's own mask is set. Signals of a vector that is not live stay pending and are delivered when it is.
class Msix {
  public:
    static constexpr std::uint16_t kMaxVectors = 2048;
    static constexpr std::uint32_t kEntrySize = 16;

    struct Entry {
        std::uint64_t address = 0;
        std::uint32_t data = 0;
        std::uint32_t control = 1;  ///< bit 0: masked

        bool operator==(const Entry&) const = default;
    };
    struct State {
        std::vector<Entry> entries;
        std::vector<std::uint64_t> pending;  ///< bit n of word n / 64

        bool operator==(const State&) const = default;
    };

    /// Bits of the message control register, the first two bytes of the capability's body.
    static constexpr std::uint16_t kControlEnable = 1 << 15;
    static constexpr std::uint16_t kControlMask = 1 << 14;

    /// 1 to kMaxVectors vectors, all masked. The controller must outlive them. `restored`, if not null, must
    /// have the same number of vectors; its masks count only once set_control() says what is on.
    static Result<Msix> create(InterruptController& controller, std::uint16_t vectors, const State* restored);

    /// The capability's body for tables at these offsets of BAR `bar`, and which of its bits the guest may
    /// set.
    [[nodiscard]] std::array<std::uint8_t, 10> capability_body(unsigned bar, std::uint32_t table,
                                                               std::uint32_t pending) const;
    [[nodiscard]] static std::array<std::uint8_t, 10> capability_writable();

    [[nodiscard]] std::uint16_t vectors() const { return static_cast<std::uint16_t>(vectors_.size()); }
    /// The event that raises `vector`, from any thread, without the lock; null if there is no such vector.
    [[nodiscard]] const EventFd* event(std::uint16_t vector) const {
        return vector < vectors_.size() ? &vectors_[vector].event() : nullptr;
    }

    /// The message control register, and whether the function may send messages (bus master).
    void set_control(std::uint16_t control, bool bus_master);

    /// Accesses of 4 or 8 aligned bytes; others read zeros and write nothing.
    void read_table(std::uint64_t offset, std::span<std::byte> data) const;
    void write_table(std::uint64_t offset, std::span<const std::byte> data);
    void read_pending(std::uint64_t offset, std::span<std::byte> data) const;

    /// Forgets signals that were not delivered (the device behind was reset).
    void drop_pending();

    [[nodiscard]] State state() const;

  private:
    Msix(std::vector<MsiVector> vectors, std::vector<Entry> entries);
    void apply(std::size_t vector);
    [[nodiscard]] std::uint64_t pending_word(std::size_t word) const;

    std::vector<MsiVector> vectors_;
    std::vector<Entry> entries_;
    bool live_ = false;  ///< on, not masked as a whole, bus master
    std::unique_ptr<LogLimit> log_limit_;
};

}  // namespace hako::pci

namespace hako::state {

template <>
struct Fields<pci::Msix::Entry> {
    using T = pci::Msix::Entry;
    static constexpr auto list =
        std::tuple(hex("address", &T::address), hex("data", &T::data), hex("control", &T::control));
};

template <>
struct Fields<pci::Msix::State> {
    using T = pci::Msix::State;
    static constexpr auto list =
        std::tuple(upto(pci::Msix::kMaxVectors, "entries", &T::entries),
                   upto(pci::Msix::kMaxVectors / 64, "pending", &T::pending).in_hex());
};

}  // namespace hako::state
