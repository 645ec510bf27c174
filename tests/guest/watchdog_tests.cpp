// The watchdog: reloaded until the host presses the power button, then left alone.
#include "tests.h"

namespace guest {
namespace {

constexpr std::uint64_t kReload = 0xc;
constexpr std::uint16_t kReloadBit = 0x100;
constexpr std::uint16_t kTimeoutBit = 0x200;
/// About two seconds for each stage.
constexpr std::uint32_t kTicks = 2048;
constexpr std::uint64_t kKicksOfARound = 4096;

class Watchdog {
  public:
    Watchdog() {
        const int slot = pci_find(0x8086, 0x25ab);
        CHECK(slot > 0);
        slot_ = static_cast<std::uint8_t>(slot);
        pci_write32(slot_, 4, 2);
        base_ = pci_read32(slot_, 0x10) & ~0xfu;
        CHECK(base_ != 0);
    }
    void write(std::uint64_t offset, std::uint32_t value) const {
        mmio_write<std::uint16_t>(base_ + kReload, 0x80);
        mmio_write<std::uint16_t>(base_ + kReload, 0x86);
        if (offset == kReload) {
            mmio_write<std::uint16_t>(base_ + offset, static_cast<std::uint16_t>(value));
        } else {
            mmio_write<std::uint32_t>(base_ + offset, value);
        }
    }
    [[nodiscard]] bool timed_out() const {
        return (mmio_read<std::uint16_t>(base_ + kReload) & kTimeoutBit) != 0;
    }
    void arm() const {
        pci_write32(slot_, 0x60, 3);  // no interrupt, slow, with a reset
        write(0, kTicks);
        write(4, kTicks);
        write(kReload, kReloadBit);
        pci_write32(slot_, 0x68, 2);
        CHECK(pci_read32(slot_, 0x68) == 2);
    }

  private:
    std::uint8_t slot_ = 0;
    std::uint64_t base_ = 0;
};

}  // namespace

void test_watchdog() {
    const Watchdog watchdog;
    if (watchdog.timed_out()) {
        // The life after.
        watchdog.write(kReload, kTimeoutBit);
        CHECK(!watchdog.timed_out());
        return;
    }
    watchdog.arm();
    bool pressed = false;
    for (std::uint64_t round = 0; !pressed; ++round) {
        for (std::uint64_t i = 0; i < kKicksOfARound && !pressed; ++i) {
            watchdog.write(kReload, kReloadBit);
            pressed = (in8(0x603) & 1) != 0;
        }
        print("round ");
        print_hex(round);
        print("\n");
    }
    print("left alone\n");
    halt();
}

}  // namespace guest
