// A socket device with a driver in front of it and programs of the host behind it: everything but the VM.
#pragma once

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/unit/devices/console_fixture.h"
#include "tests/unit/virtio/driver_queue.h"
#include "tests/unit/virtio/fake_transport.h"
#include "virtio/vsock/device.h"
#include "virtio/vsock/protocol.h"

namespace hako::test {

namespace vs = virtio::vsock;
using Op = vs::Operation;

/// Guest memory: rings from 64 KiB, packets of the guest from 2 MiB, buffers for the device's from 4 MiB.
inline constexpr GuestAddress kSent{2 * MiB};
inline constexpr GuestAddress kEventBuffer{3 * MiB};
inline constexpr GuestAddress kReceived{4 * MiB};
inline constexpr std::uint32_t kBufferBytes = sizeof(vs::Header) + 4096;  ///< as Linux has them
inline constexpr std::uint32_t kGuestRoom = 256 * KiB;
inline constexpr std::uint64_t kCid = 42;

/// A packet that the device sent.
struct Heard {
    /// Of the header, which is packed: a check takes no references to what is in it.
    struct {
        std::uint32_t src_port, dst_port, len;
        std::uint16_t type, op;
        std::uint32_t flags, buf_alloc, fwd_cnt;
    } header;
    std::string payload;
    [[nodiscard]] Op op() const { return static_cast<Op>(header.op); }
};

class VsockFixture {
  public:
    explicit VsockFixture(io::Engine& engine, const std::optional<vs::State>& state = std::nullopt)
        : transport(3), engine_(engine) {
        config.id = "_vsock0";
        config.cid = kCid;
        config.socket = directory.file("v");
        device = vs::VsockDevice::create(config, vs::HostEnd::open(config).value(), engine, state).value();
        make_drivers();
    }

    /// Drivers that know of nothing yet, as after a reset.
    void make_drivers() {
        drivers.clear();
        for (const std::uint16_t size : device->queue_max_sizes())
            drivers.emplace_back(memory, drivers.empty() ? GuestAddress{64 * KiB} : drivers.back().end(),
                                 size);
        places_.clear();
        offered_ = 0;
    }
    void activate(std::span<const virtio::QueuePosition> positions = {}) {
        std::vector<virtio::QueueConfig> queues;
        for (const DriverQueue& driver : drivers)
            queues.push_back(driver.config());
        REQUIRE(device->activate({.features = device->features() & ~virtio::feature::kEventIdx,
                                  .memory = memory,
                                  .hooks = transport,
                                  .queues = queues,
                                  .kicks = transport.kicks,
                                  .positions = positions}));
    }
    /// Another device in its place, as on another host.
    void restore() {
        device->pause();
        const auto positions = device->queue_positions();
        const vs::State state = device->state();
        device.reset();
        device = vs::VsockDevice::create(config, vs::HostEnd::open(config).value(), engine_, state).value();
        activate(positions);
    }

    void kick(std::size_t queue) {
        if (drivers[queue].publish()) transport.kicks[queue].signal();
    }
    std::optional<DriverQueue::Used> await(std::size_t queue) {
        for (;;) {
            if (const auto used = drivers[queue].take_used()) return used;
            if (!wait_for(transport.interrupts[queue])) return std::nullopt;
        }
    }

    // The guest's driver.

    /// Offers buffers for packets, in two pieces as Linux does.
    void offer(int count, std::uint32_t length = kBufferBytes) {
        for (int i = 0; i < count; ++i) {
            const GuestAddress at = kReceived + 8 * KiB * (offered_++ % 1024);
            const auto head = drivers[vs::kReceive].add(std::array{
                Buffer{at, sizeof(vs::Header), true},
                Buffer{at + sizeof(vs::Header), length - std::uint32_t{sizeof(vs::Header)}, true}});
            REQUIRE(head);
            places_[*head] = at;
        }
        kick(vs::kReceive);
    }
    /// The next packet of the device, for which there is a buffer.
    std::optional<Heard> heard() {
        const auto used = await(vs::kReceive);
        if (!used) return std::nullopt;
        return look(*used);
    }
    /// The same, if it is there already.
    std::optional<Heard> heard_already() {
        const auto used = drivers[vs::kReceive].take_used();
        if (!used) return std::nullopt;
        return look(*used);
    }
    /// Offers a buffer, and waits for the packet in it.
    Heard hear() {
        offer(1);
        const auto packet = heard();
        REQUIRE(packet);
        return *packet;
    }
    /// A packet of the guest; returns when the device has taken it.
    void say(const vs::Header& header, std::string_view payload = {}) {
        offer_packet(header, payload);
        const auto used = await(vs::kTransmit);
        REQUIRE(used);
        CHECK(used->written == 0);
    }
    void offer_packet(const vs::Header& header, std::string_view payload) {
        REQUIRE(memory.store(kSent, header));
        REQUIRE(memory.write(kSent + sizeof header, std::as_bytes(std::span(payload))));
        std::vector<Buffer> buffers = {{kSent, sizeof header, false}};
        if (!payload.empty())
            buffers.push_back({kSent + sizeof header, static_cast<std::uint32_t>(payload.size()), false});
        REQUIRE(drivers[vs::kTransmit].add(buffers));
        kick(vs::kTransmit);
    }
    [[nodiscard]] vs::Header header(Op op, const vs::Ports& ports, std::uint32_t len = 0) const {
        return {.src_cid = kCid,
                .dst_cid = vs::kHostCid,
                .src_port = ports.guest,
                .dst_port = ports.host,
                .len = len,
                .type = vs::kTypeStream,
                .op = static_cast<std::uint16_t>(op),
                .flags = 0,
                .buf_alloc = room,
                .fwd_cnt = taken};
    }
    void say(Op op, const vs::Ports& ports) { say(header(op, ports)); }
    void say_bytes(const vs::Ports& ports, std::string_view bytes) {
        say(header(Op::kReadWrite, ports, static_cast<std::uint32_t>(bytes.size())), bytes);
    }
    void say_shutdown(const vs::Ports& ports, std::uint32_t flags) {
        vs::Header packet = header(Op::kShutdown, ports);
        packet.flags = flags;
        say(packet);
    }

    // Programs on the host.

    [[nodiscard]] Fd connect() const { return connect_to(config.socket); }
    /// Connects to a port of the guest, which takes it.
    Fd connect(std::uint32_t port, vs::Ports& ports) {
        Fd client = connect();
        write(client, "CONNECT " + std::to_string(port) + "\n");
        const Heard request = hear();
        CHECK(request.op() == Op::kRequest);
        CHECK(request.header.dst_port == port);
        ports = {.host = request.header.src_port, .guest = port};
        say(Op::kResponse, ports);
        CHECK(read(client, 1, true) == "OK " + std::to_string(ports.host) + "\n");
        return client;
    }
    /// Somebody who listens for connections of the guest.
    [[nodiscard]] Fd listen(std::uint32_t port) const {
        Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const std::string path = config.socket + "_" + std::to_string(port);
        std::memcpy(address.sun_path, path.data(), path.size());
        REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
        REQUIRE(::listen(fd.get(), 16) == 0);
        return fd;
    }
    /// The guest connects to the host.
    Fd accept(const Fd& listener, const vs::Ports& ports) {
        say(Op::kRequest, ports);
        const Heard response = hear();
        CHECK(response.op() == Op::kResponse);
        Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        REQUIRE(fd.valid());
        return fd;
    }
    static void write(const Fd& fd, std::string_view text) {
        REQUIRE(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(text.size()));
    }
    /// Reads `size` bytes, or to the end of the line or the stream.
    static std::string read(const Fd& fd, std::size_t size, bool line = false) {
        std::string text;
        while (line ? !text.ends_with('\n') : text.size() < size) {
            pollfd poll_fd{.fd = fd.get(), .events = POLLIN, .revents = 0};
            REQUIRE(::poll(&poll_fd, 1, 10'000) == 1);
            std::array<char, 65536> bytes{};
            const ssize_t got =
                ::read(fd.get(), bytes.data(), line ? 1 : std::min(bytes.size(), size - text.size()));
            if (got <= 0) break;
            text.append(bytes.data(), static_cast<std::size_t>(got));
        }
        return text;
    }
    /// Nothing more comes.
    static bool ended(const Fd& fd) { return read(fd, 1).empty(); }
    template <typename Condition>
    bool until(Condition condition) {
        return run_until(io_, condition);
    }

    ScratchDirectory directory;
    GuestMemory memory = GuestMemory::create({.size = 16 * MiB}).value();
    FakeTransport transport;
    std::vector<DriverQueue> drivers;
    vs::Config config;
    std::uint32_t room = kGuestRoom;  ///< the guest's buf_alloc and fwd_cnt
    std::uint32_t taken = 0;
    std::unique_ptr<vs::VsockDevice> device;  // goes before all that it works on

  private:
    Heard look(const DriverQueue::Used& used) {
        const GuestAddress at = places_[used.head];
        const auto got = memory.load<vs::Header>(at).value();
        CHECK(std::uint64_t{got.src_cid} == vs::kHostCid);
        CHECK(std::uint64_t{got.dst_cid} == kCid);
        CHECK(used.written == sizeof got + got.len);
        Heard packet{.header = {got.src_port, got.dst_port, got.len, got.type, got.op, got.flags,
                                got.buf_alloc, got.fwd_cnt},
                     .payload = std::string(got.len, '\0')};
        REQUIRE(memory.read(at + sizeof got, std::as_writable_bytes(std::span(packet.payload))));
        return packet;
    }

    io::Engine& engine_;
    boost::asio::io_context io_;
    std::map<std::uint16_t, GuestAddress> places_;
    std::uint64_t offered_ = 0;
};

}  // namespace hako::test
