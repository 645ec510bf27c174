#include "devices/pvpanic/device.h"

namespace hako::pvpanic {

void Device::read(std::uint64_t, std::span<std::byte> data) {
    store_le(data, kPanicked | kCrashLoaded);
}

void Device::write(std::uint64_t, std::span<const std::byte> data) {
    const std::uint64_t value = load_le(data);
    if ((value & kPanicked) != 0) events_.panicked();
    if ((value & kCrashLoaded) != 0) events_.crash_loaded();
}

}  // namespace hako::pvpanic
