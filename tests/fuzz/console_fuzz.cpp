// libFuzzer target: a driver that says and does whatever it likes to a console device, and clients of its own
// that type.
//
// Input: steps, each a byte that says what to do, then what that takes. Checks what must hold afterwards.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "devices/console/backend.h"
#include "tests/fuzz/drivers.h"
#include "tests/fuzz/input.h"
#include "virtio/console/device.h"
#include "virtio/console/protocol.h"

using namespace hako;
using hako::fuzz::Input;
using hako::fuzz::require;
namespace vcon = hako::virtio::console;

namespace {

constexpr std::uint64_t kMemory = 2 * MiB;
constexpr GuestAddress kData{1 * MiB};
constexpr std::size_t kPorts = 3;
constexpr std::size_t kMaxSteps = 64;

/// What is made once: the thread, the host ends and guest memory.
struct World : fuzz::World {
    World() : fuzz::World({.size = kMemory}, 2 * kPorts + 2) {
        std::array<int, 2> fds{};
        if (::pipe2(fds.data(), O_CLOEXEC | O_NONBLOCK) != 0) std::abort();
        typed = Fd(fds[0]);
        keyboard = Fd(fds[1]);
        null = Fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
        backends.push_back(console::Backend::open(io, *engine, {}).value());
        backends.push_back(console::Backend::on_terminal(io, *engine, typed.get(), null.get(), {}));
        backends.push_back(
            console::Backend::open(io, *engine, {.mode = console::Mode::kFile, .path = "/dev/null"}).value());
        config.id = "fuzz";
        config.ports.resize(kPorts - 1);
        for (vcon::PortConfig& port : config.ports)
            port.name = "port";
    }
    [[nodiscard]] std::unique_ptr<vcon::ConsoleDevice> make(const std::optional<vcon::State>& state = {}) {
        auto device = vcon::ConsoleDevice::create(
            config, {backends[0].get(), backends[1].get(), backends[2].get()}, *engine, state);
        require(device.has_value(), "a state of the device itself is refused");
        return std::move(*device);
    }

    boost::asio::io_context io;
    Fd typed;
    Fd keyboard;
    Fd null;
    vcon::Config config;
    std::vector<std::unique_ptr<console::Backend>> backends;
};

class Run {
  public:
    Run(World& world, Input input) : world_(world), input_(input), device_(world.make()) { begin({}); }
    ~Run() { device_->reset(); }

    void all() {
        for (std::size_t step = 0; step < kMaxSteps && !input_.empty(); ++step)
            one();
        world_.engine->run_sync([] {});
    }

  private:
    /// A driver that starts anew, or the one that was, behind a device restored at `positions`.
    void begin(std::span<const virtio::QueuePosition> positions) {
        if (positions.empty()) {
            std::uint64_t features = device_->features();
            if ((input_.byte() & 1) != 0) features &= ~vcon::feature::kMultiport;
            if ((input_.byte() & 1) != 0) features &= ~virtio::feature::kEventIdx;
            drivers_.start(*device_, features);
        }
        drivers_.activate(*device_, positions);
    }

    [[nodiscard]] std::size_t queue() { return input_.byte() % drivers_.size(); }

    void one() {
        switch (input_.byte() % 8) {
            case 0: {  // a control message, of any length
                const auto bytes = input_.take(input_.byte() % 16);
                if (!world_.memory.write(kData, std::as_bytes(bytes))) return;
                offer(vcon::kControlTransmit, false, static_cast<std::uint32_t>(bytes.size()));
                break;
            }
            case 1:  // a buffer on any queue
                offer(queue(), (input_.byte() & 1) != 0, input_.word());
                break;
            case 2: {  // any descriptor, and any entry
                const std::size_t index = queue();
                test::DriverQueue& driver = drivers_[index];
                driver.write_descriptor(input_.byte() % driver.size(), GuestAddress{input_.word() * 64U},
                                        input_.word(), input_.byte() % 8, input_.byte());
                driver.offer(input_.byte());
                drivers_.kick(index);
                break;
            }
            case 3: {  // somebody types
                const auto bytes = input_.take(input_.byte());
                (void)!::write(world_.keyboard.get(), bytes.data(), bytes.size());
                break;
            }
            case 4: {  // saved, and restored elsewhere
                device_->pause();
                const auto positions = device_->queue_positions();
                const vcon::State state = device_->state();
                device_.reset();
                device_ = world_.make(state);
                require(device_->state() == state, "a state changes when it is restored");
                begin(positions);
                break;
            }
            case 5:
                device_->reset();
                begin({});
                break;
            case 6: {  // the configuration space
                std::array<std::byte, 8> bytes{};
                const std::uint32_t offset = input_.byte();
                device_->read_config(offset, std::span(bytes).first(input_.byte() % 9));
                device_->write_config(offset, std::span(bytes).first(input_.byte() % 9));
                break;
            }
            case 7:
                for (test::DriverQueue& driver : drivers_) {
                    for (int i = 0; i < 64 && driver.take_used(); ++i) {
                    }
                }
                break;
        }
    }

    void offer(std::size_t queue, bool writable, std::uint32_t length) {
        const std::array buffers = {test::Buffer{kData, length, writable}};
        if (drivers_[queue].add(buffers)) drivers_.kick(queue);
    }

    World& world_;
    Input input_;
    std::unique_ptr<vcon::ConsoleDevice> device_;
    fuzz::Drivers drivers_{world_.memory, world_.hooks, world_.kicks};
};

void check_messages(std::span<const std::byte> bytes) {
    const auto message = vcon::parse_message(bytes, kPorts);
    if (!message) return;
    require(bytes.size() == sizeof(vcon::Control), "a message of the wrong length");
    if (const auto* const ready = std::get_if<vcon::PortReady>(&*message))
        require(ready->port < kPorts, "a port that there is not");
    if (const auto* const open = std::get_if<vcon::PortOpen>(&*message))
        require(open->port < kPorts, "a port that there is not");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static World world;
    check_messages(std::as_bytes(std::span(data, size)));
    Run(world, Input(data, size)).all();
    return 0;
}
