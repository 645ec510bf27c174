// Fuzzes what a guest says to virtio-net: control commands and the packet headers that go by.
//
// Input: Setup, then the command's bytes. Checks what must hold whatever they are.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

#include "tests/fuzz/require.h"
#include "virtio/net/mac.h"
#include "virtio/net/protocol.h"

using namespace hako::virtio::net;
using hako::fuzz::require;

namespace {

struct __attribute__((packed)) Setup {
    std::uint64_t features;
    std::uint16_t max_pairs;
    Header header;
};

void check(const SetQueuePairs& command, const Setup& setup) {
    require((setup.features & feature::kMultiQueue) != 0, "queue pairs without MQ");
    require(command.pairs >= 1 && command.pairs <= setup.max_pairs, "queue pairs out of range");
}

void check(const SetGuestOffloads& command, const Setup& setup) {
    require((setup.features & feature::kCtrlGuestOffloads) != 0, "offloads that were not negotiated");
    require((command.offloads & ~(setup.features & kGuestOffloads)) == 0,
            "an offload that was not negotiated");
    require(command.offloads == 0 || (command.offloads & feature::kGuestCsum) != 0, "TSO without checksums");
}

void check(const SetMac& command, const Setup& setup) {
    require((setup.features & feature::kControlMac) != 0, "an address without CTRL_MAC_ADDR");
    require(usable_mac(command.mac), "an address that no interface may have is set");
    require(mac_of_bits(mac_bits(command.mac)) == command.mac, "an address that changes when it is kept");
}

void check(const AckAnnounce& /*command*/, const Setup& setup) {
    require((setup.features & feature::kGuestAnnounce) != 0, "an answer that was not asked for");
}

/// SetPromiscuous, SetAllMulticast, SetMacTable.
void check(const auto& /*command*/, const Setup& setup) {
    require((setup.features & feature::kControlRx) != 0, "a receive mode without CTRL_RX");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Setup setup{};
    if (size < sizeof setup) return 0;
    std::memcpy(&setup, data, sizeof setup);
    const auto bytes = std::as_bytes(std::span(data, size)).subspan(sizeof setup);

    if (const auto command = parse_control(bytes, setup.features, setup.max_pairs)) {
        require(bytes.size() <= kMaxControlBytes, "a command longer than the longest");
        std::visit([&](const auto& known) { check(known, setup); }, *command);
    }
    const Header header = received_header(setup.header, setup.max_pairs, setup.features);
    require(header.num_buffers == setup.max_pairs, "the wrong number of buffers");
    require((setup.features & feature::kGuestCsum) != 0 || header.flags == 0, "flags without GUEST_CSUM");

    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (const auto mac = parse_mac(text)) {
        require(usable_mac(*mac), "an address that no interface may have");
        require(parse_mac(mac_text(*mac)) == mac, "an address that changes when it is written");
    }
    require(usable_mac(default_mac(text, "")), "a default that no interface may have");
    return 0;
}
