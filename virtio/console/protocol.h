// What goes over the wire to a console's driver (virtio 1.3, 5.3).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>

#include "devices/console/size.h"
#include "virtio/console/config.h"

namespace hako::virtio::console {

/// Feature bits (5.3.3).
namespace feature {
inline constexpr std::uint64_t kSize = 1U << 0;
inline constexpr std::uint64_t kMultiport = 1U << 1;
inline constexpr std::uint64_t kEmergencyWrite = 1U << 2;
}  // namespace feature

/// struct virtio_console_config (5.3.4).
struct __attribute__((packed)) ConfigSpace {
    std::uint16_t columns;
    std::uint16_t rows;
    std::uint32_t max_ports;
    std::uint32_t emergency_write;
};
static_assert(sizeof(ConfigSpace) == 12);

/// Queues (5.3.2): receive and transmit of port 0, of control messages, of port 1 …
inline constexpr std::uint16_t kControlReceive = 2;
inline constexpr std::uint16_t kControlTransmit = 3;
[[nodiscard]] constexpr std::uint16_t receive_queue(std::uint16_t port) {
    return static_cast<std::uint16_t>(port == 0 ? 0 : 2 * port + 2);
}
[[nodiscard]] constexpr std::uint16_t transmit_queue(std::uint16_t port) {
    return static_cast<std::uint16_t>(receive_queue(port) + 1);
}

/// struct virtio_console_control (5.3.6.2).
struct Control {
    std::uint32_t port = 0;
    std::uint16_t event = 0;
    std::uint16_t value = 0;

    bool operator==(const Control&) const = default;
};
static_assert(sizeof(Control) == 8);

enum class Event : std::uint16_t {
    kDeviceReady = 0,
    kPortAdd = 1,
    kPortRemove = 2,
    kPortReady = 3,
    kConsolePort = 4,
    kResize = 5,
    kPortOpen = 6,
    kPortName = 7,
};

struct DeviceReady {
    bool ready = false;
};
struct PortReady {
    std::uint16_t port = 0;
    bool ready = false;
};
struct PortOpen {
    std::uint16_t port = 0;
    bool open = false;
};
using DriverMessage = std::variant<DeviceReady, PortReady, PortOpen>;

/// A driver's control message out of its bytes. Nothing if it has the wrong length, an event that drivers do
/// not send, a port that there is not (of `ports`) or a value that means nothing: it is passed over.
[[nodiscard]] std::optional<DriverMessage> parse_message(std::span<const std::byte> bytes,
                                                         std::uint16_t ports);

/// A control message for the driver: the header, and what follows it.
class DeviceMessage {
  public:
    DeviceMessage(std::uint16_t port, Event event, std::uint16_t value);
    /// VIRTIO_CONSOLE_PORT_NAME. What is beyond kMaxPortName is left out.
    static DeviceMessage name(std::uint16_t port, std::string_view name);
    /// VIRTIO_CONSOLE_RESIZE.
    static DeviceMessage resize(std::uint16_t port, const hako::console::Size& size);

    [[nodiscard]] std::span<const std::byte> bytes() const { return std::span(bytes_).first(length_); }

  private:
    std::array<std::byte, sizeof(Control) + kMaxPortName> bytes_{};
    std::size_t length_ = sizeof(Control);
};

}  // namespace hako::virtio::console
