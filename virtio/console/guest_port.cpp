#include "virtio/console/guest_port.h"

#include "virtio/console/rx_queue.h"

namespace hako::virtio::console {

std::size_t GuestPort::receive(std::span<const std::uint8_t> bytes) {
    // Nobody would read it: a driver throws away what comes for a port that is closed.
    if (receive_ == nullptr || !state.guest_open) return 0;
    return receive_->receive(bytes);
}

}  // namespace hako::virtio::console
