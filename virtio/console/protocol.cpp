#include "virtio/console/protocol.h"

#include <algorithm>
#include <cstring>

namespace hako::virtio::console {

std::optional<DriverMessage> parse_message(std::span<const std::byte> bytes, std::uint16_t ports) {
    Control control;
    if (bytes.size() != sizeof control) return std::nullopt;
    std::memcpy(&control, bytes.data(), sizeof control);
    if (control.value > 1) return std::nullopt;
    const bool yes = control.value == 1;
    const auto event = static_cast<Event>(control.event);
    // It is about the device: Linux gives a port of ~0.
    if (event == Event::kDeviceReady) return DeviceReady{.ready = yes};
    if (control.port >= ports) return std::nullopt;
    const auto port = static_cast<std::uint16_t>(control.port);
    if (event == Event::kPortReady) return PortReady{.port = port, .ready = yes};
    if (event == Event::kPortOpen) return PortOpen{.port = port, .open = yes};
    return std::nullopt;
}

DeviceMessage::DeviceMessage(std::uint16_t port, Event event, std::uint16_t value) {
    const Control control{.port = port, .event = static_cast<std::uint16_t>(event), .value = value};
    std::memcpy(bytes_.data(), &control, sizeof control);
}

DeviceMessage DeviceMessage::name(std::uint16_t port, std::string_view name) {
    DeviceMessage message(port, Event::kPortName, 1);
    name = name.substr(0, kMaxPortName);
    std::memcpy(message.bytes_.data() + sizeof(Control), name.data(), name.size());
    message.length_ += name.size();
    return message;
}

DeviceMessage DeviceMessage::resize(std::uint16_t port, const hako::console::Size& size) {
    DeviceMessage message(port, Event::kResize, 0);
    // As in 5.3.6.2. Linux read the rows first until 2025; its stable kernels follow the text by now.
    const std::array<std::uint16_t, 2> fields = {size.columns, size.rows};
    std::memcpy(message.bytes_.data() + sizeof(Control), fields.data(), sizeof fields);
    message.length_ += sizeof fields;
    return message;
}

}  // namespace hako::virtio::console
