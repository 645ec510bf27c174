// A console device with a driver in front of it and host ends behind it: everything but the VM.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/unit/devices/console_fixture.h"
#include "tests/unit/virtio/driver_queue.h"
#include "tests/unit/virtio/fake_transport.h"
#include "virtio/console/device.h"
#include "virtio/console/protocol.h"

namespace hako::test {

namespace vcon = virtio::console;

/// Guest memory: rings from 64 KiB, data from 2 MiB.
inline constexpr GuestAddress kOutput{2 * MiB};
inline constexpr GuestAddress kInput{3 * MiB};
inline constexpr GuestAddress kControlOut{1 * MiB};
inline constexpr GuestAddress kControlIn{1 * MiB + 64 * KiB};
inline constexpr std::uint32_t kControlBytes = 128;

class ConsoleFixture {
  public:
    /// `hosts`: of port 0 and of ports 1 and up, which are named "port.1" …; kOff for port 0: none.
    ConsoleFixture(io::Engine& engine, const std::vector<console::Config>& hosts,
                   const std::optional<vcon::State>& state = std::nullopt)
        : transport(2 * hosts.size() + 2), engine_(engine) {
        config.id = "_console0";
        config.console = hosts[0];
        std::vector<console::Backend*> ends;
        for (std::size_t i = 0; i < hosts.size(); ++i) {
            std::unique_ptr<console::Backend> backend;
            if (hosts[i].mode != console::Mode::kOff)
                backend = console::Backend::open(io, engine, hosts[i]).value();
            if (i > 0) config.ports.push_back({.name = "port." + std::to_string(i), .host = hosts[i]});
            backends.push_back(std::move(backend));
            ends.push_back(backends.back().get());
        }
        device = vcon::ConsoleDevice::create(config, ends, engine, state).value();
        make_drivers();
    }

    /// Drivers that know of nothing yet, as after a reset.
    void make_drivers() {
        drivers.clear();
        for (const std::uint16_t size : device->queue_max_sizes())
            drivers.emplace_back(memory, drivers.empty() ? GuestAddress{64 * KiB} : drivers.back().end(),
                                 size);
    }

    void activate(std::uint64_t without = 0, std::span<const virtio::QueuePosition> positions = {}) {
        std::vector<virtio::QueueConfig> queues;
        for (const DriverQueue& driver : drivers)
            queues.push_back(driver.config());
        REQUIRE(device->activate({.features = device->features() & ~without & ~virtio::feature::kEventIdx,
                                  .memory = memory,
                                  .hooks = transport,
                                  .queues = queues,
                                  .kicks = transport.kicks,
                                  .positions = positions}));
    }

    void kick(std::size_t queue) {
        if (drivers[queue].publish()) transport.kicks[queue].signal();
    }
    /// Waits for the next used chain.
    std::optional<DriverQueue::Used> await(std::size_t queue) {
        for (;;) {
            if (const auto used = drivers[queue].take_used()) return used;
            if (!wait_for(transport.interrupts[queue])) return std::nullopt;
        }
    }
    /// Lets the io thread do all it can do by now.
    void engine_round() {
        for (int i = 0; i < 8; ++i) {
            engine_.run_sync([] {});
            ::usleep(1000);
        }
    }
    template <typename Condition>
    bool until(Condition condition) {
        return run_until(io, condition);
    }

    void put(GuestAddress to, std::string_view text) {
        REQUIRE(memory.write(to, std::as_bytes(std::span(text))));
    }
    [[nodiscard]] std::string get(GuestAddress from, std::size_t length) const {
        std::string text(length, '\0');
        REQUIRE(memory.read(from, std::as_writable_bytes(std::span(text))));
        return text;
    }

    /// Offers output to the device; nobody waits.
    void offer_output(std::uint16_t port, std::string_view text, GuestAddress at = kOutput) {
        put(at, text);
        REQUIRE(drivers[vcon::transmit_queue(port)].add(
            std::array{Buffer{at, static_cast<std::uint32_t>(text.size()), false}}));
        kick(vcon::transmit_queue(port));
    }
    /// Writes to a port and waits until it is taken.
    void output(std::uint16_t port, std::string_view text) {
        offer_output(port, text);
        const auto used = await(vcon::transmit_queue(port));
        REQUIRE(used);
        CHECK(used->written == 0);
    }
    /// Offers a buffer for input of `length` bytes.
    void offer_input(std::uint16_t port, std::uint32_t length) {
        REQUIRE(drivers[vcon::receive_queue(port)].add(std::array{Buffer{kInput, length, true}}));
        kick(vcon::receive_queue(port));
    }
    /// What the next used buffer of a port brings.
    std::string input(std::uint16_t port) {
        const auto used = await(vcon::receive_queue(port));
        return used ? get(kInput, used->written) : "nothing came";
    }

    /// A control message of the driver; waits until it is read.
    void control(std::uint32_t port, vcon::Event event, std::uint16_t value) {
        const vcon::Control message{.port = port, .event = static_cast<std::uint16_t>(event), .value = value};
        REQUIRE(memory.store(kControlOut, message));
        raw_control(sizeof message);
    }
    void raw_control(std::uint32_t length) {
        REQUIRE(drivers[vcon::kControlTransmit].add(std::array{Buffer{kControlOut, length, false}}));
        kick(vcon::kControlTransmit);
        REQUIRE(await(vcon::kControlTransmit));
    }
    struct Told {
        vcon::Event event{};
        std::uint32_t port = 0;
        std::uint16_t value = 0;
        std::string rest;

        bool operator==(const Told&) const = default;
    };
    /// Offers a buffer and waits for the next control message of the device; nothing if none comes in
    /// `patience`.
    std::optional<Told> told(std::chrono::milliseconds patience = std::chrono::seconds(10)) {
        DriverQueue& driver = drivers[vcon::kControlReceive];
        if (!control_offered_) {
            REQUIRE(driver.add(std::array{Buffer{kControlIn, kControlBytes, true}}));
            kick(vcon::kControlReceive);
            control_offered_ = true;
        }
        const auto deadline = std::chrono::steady_clock::now() + patience;
        std::optional<DriverQueue::Used> used;
        while (!(used = driver.take_used())) {
            if (std::chrono::steady_clock::now() > deadline) return std::nullopt;
            ::usleep(500);
        }
        control_offered_ = false;
        const auto header = memory.load<vcon::Control>(kControlIn).value();
        return Told{.event = static_cast<vcon::Event>(header.event),
                    .port = header.port,
                    .value = header.value,
                    .rest = get(kControlIn + sizeof header, used->written - sizeof header)};
    }
    /// The driver sets all up as Linux does, and opens no port but the console.
    void set_up() {
        control(0xffffffff, vcon::Event::kDeviceReady, 1);
        for (std::uint16_t port = 0; port < backends.size(); ++port) {
            if (!backends[port]) continue;
            REQUIRE(told() == Told{.event = vcon::Event::kPortAdd, .port = port});
        }
        for (std::uint16_t port = 0; port < backends.size(); ++port) {
            if (!backends[port]) continue;
            control(port, vcon::Event::kPortReady, 1);
            const auto first = told();
            REQUIRE(first);
            CHECK(first->event == (port == 0 ? vcon::Event::kConsolePort : vcon::Event::kPortName));
            if (port > 0) CHECK(first->rest == "port." + std::to_string(port));
            const auto second = told();
            REQUIRE(second);
            CHECK(second->event == vcon::Event::kPortOpen);
            if (port == 0) control(0, vcon::Event::kPortOpen, 1);
        }
    }
    [[nodiscard]] vcon::ConfigSpace config_space() {
        vcon::ConfigSpace space{};
        device->read_config(0, std::as_writable_bytes(std::span(&space, 1)));
        return space;
    }

    ScratchDirectory directory;
    boost::asio::io_context io;
    GuestMemory memory = GuestMemory::create({.size = 16 * MiB}).value();
    FakeTransport transport;
    std::vector<DriverQueue> drivers;
    vcon::Config config;
    std::vector<std::unique_ptr<console::Backend>> backends;
    std::unique_ptr<vcon::ConsoleDevice> device;  // goes before all that it works on

  private:
    io::Engine& engine_;
    bool control_offered_ = false;
};

}  // namespace hako::test
