// libFuzzer target: whole devices, each behind its queues, with a driver that does what the input says.
//
// Input: which device and what it negotiates, then operations, one after another until the input ends.
// Whatever they are, pause() and reset() must come back: nothing of a guest's may keep a device from either.
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "tests/unit/virtio/driver_queue.h"
#include "tests/unit/virtio/fake_transport.h"
#include "tests/unit/virtio/temp_image.h"
#include "virtio/blk/device.h"
#include "virtio/net/device.h"
#include "virtio/rng/device.h"

using namespace hako;
using namespace hako::virtio;

namespace {

constexpr std::uint64_t kMemory = 1 * MiB;
constexpr std::uint64_t kImage = 64 * KiB;
constexpr std::uint16_t kQueueSize = 16;
constexpr std::size_t kMaxOperations = 64;

class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
    [[nodiscard]] bool empty() const { return size_ == 0; }
    template <typename T>
    T take() {
        T value{};
        const std::size_t count = std::min(size_, sizeof value);
        std::memcpy(&value, data_, count);
        data_ += count;
        size_ -= count;
        return value;
    }

  private:
    const std::uint8_t* data_;
    std::size_t size_;
};

/// Quiet: what a guest breaks is said in one line each time.
io::Engine& engine() {
    static const std::unique_ptr<io::Engine> made = [] {
        set_log_level(LogLevel::kError);
        return io::Engine::create().value();
    }();
    return *made;
}

std::unique_ptr<Device> make_disk() {
    static const test::TempImage image(kImage);
    blk::Config config;
    config.id = "fuzz";
    config.path = image.path();
    config.queue_size = kQueueSize;
    return blk::BlockDevice::create(config, blk::Disk::open(config).value(), engine()).value();
}

/// `wire`: the other end of what stands for its tap, or of its stream.
std::unique_ptr<Device> make_net(bool stream, Fd& wire) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, (stream ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                     ends.data()) != 0)
        std::abort();
    wire = Fd(ends[1]);
    net::Config config;
    config.id = "fuzz";
    config.queue_size = kQueueSize;
    net::HostEnd end;
    if (stream) {
        end.stream = net::Stream::adopt(Fd(ends[0]), "wire").value();
    } else {
        end.taps.push_back(net::Tap::adopt(Fd(ends[0]), "wire").value());
    }
    return net::NetDevice::create(config, std::move(end), engine()).value();
}

/// The driver's side: queues laid out as they should be, and then not left so.
class Driver {
  public:
    Driver(Device& device, std::uint64_t features)
        : device_(device), transport_(device.queue_max_sizes().size()) {
        features_ = (device.features() & features) | feature::kVersion1;
        activate();
    }
    ~Driver() {
        device_.resume();
        for (std::size_t queue = 0; queue < queues_.size(); ++queue)
            kick(queue);
        device_.pause();
        static_cast<void>(device_.queue_positions());
        device_.reset();
    }

    void activate() {
        const bool event_idx = (features_ & feature::kEventIdx) != 0;
        queues_.clear();
        std::vector<QueueConfig> configs;
        for (const std::uint16_t size : device_.queue_max_sizes()) {
            const GuestAddress base = queues_.empty() ? GuestAddress{4 * KiB} : queues_.back().end();
            queues_.emplace_back(memory_, base, size, event_idx);
            configs.push_back(queues_.back().config());
        }
        if (!device_.activate({.features = features_,
                               .memory = memory_,
                               .hooks = transport_,
                               .queues = configs,
                               .kicks = transport_.kicks,
                               .positions = {}}))
            std::abort();
    }

    void step(Input& input, const Fd& wire) {
        test::DriverQueue& queue = queues_[input.take<std::uint8_t>() % queues_.size()];
        const auto index = static_cast<std::size_t>(&queue - queues_.data());
        switch (input.take<std::uint8_t>() % 12) {
            case 0:
            case 1:
            case 2:
                return add_chain(queue, input);
            case 3: {
                const auto descriptor = static_cast<std::uint16_t>(input.take<std::uint8_t>() % queue.size());
                const GuestAddress address{input.take<std::uint64_t>()};
                const auto length = input.take<std::uint32_t>();
                const auto flags = input.take<std::uint16_t>();
                return queue.write_descriptor(descriptor, address, length, flags,
                                              input.take<std::uint16_t>());
            }
            case 4:
                return queue.offer(input.take<std::uint16_t>());
            case 5:
                return write(GuestAddress{input.take<std::uint32_t>() % kMemory},
                             input.take<std::uint64_t>());
            case 6:
                return kick(index);
            case 7:
                return queue.set_available_index(input.take<std::uint16_t>());
            case 8:
                device_.pause();
                return device_.resume();
            case 9:
                device_.reset();
                return activate();
            case 10:
                return touch_config(input);
            case 11: {
                const auto frame = input.take<std::array<std::uint8_t, 64>>();
                const std::size_t length = input.take<std::uint8_t>() % (frame.size() + 1);
                if (wire.valid()) static_cast<void>(::send(wire.get(), frame.data(), length, MSG_NOSIGNAL));
            }
        }
    }

  private:
    /// A chain as drivers make them, with the first buffer's content: the header of a request.
    void add_chain(test::DriverQueue& queue, Input& input) {
        std::array<test::Buffer, 4> buffers{};
        const std::size_t count = 1 + input.take<std::uint8_t>() % buffers.size();
        for (test::Buffer& buffer : std::span(buffers).first(count)) {
            const auto place = input.take<std::uint16_t>();
            buffer = {.address = GuestAddress{512 * KiB + place * std::uint64_t{8}},
                      .length = input.take<std::uint16_t>(),
                      .writable = input.take<std::uint8_t>() % 2 != 0};
        }
        write(buffers[0].address, input.take<std::uint64_t>());
        write(buffers[0].address + 8, input.take<std::uint8_t>());
        queue.add(std::span(buffers).first(count));
        queue.publish();
    }
    void write(GuestAddress address, std::uint64_t value) {
        if (const auto bytes = memory_.writable_later(address, sizeof value))
            std::memcpy(bytes->data(), &value, sizeof value);
    }
    void kick(std::size_t queue) {
        queues_[queue].publish();
        transport_.kicks[queue].signal();
    }
    void touch_config(Input& input) {
        std::array<std::byte, 8> bytes{};
        const auto offset = input.take<std::uint32_t>();
        const std::span some = std::span(bytes).first(input.take<std::uint8_t>() % (bytes.size() + 1));
        device_.read_config(offset, some);
        device_.write_config(offset, some);
    }

    GuestMemory memory_ = GuestMemory::create({.size = kMemory}).value();
    Device& device_;
    test::FakeTransport transport_;
    std::vector<test::DriverQueue> queues_;
    std::uint64_t features_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    Fd wire;
    std::unique_ptr<Device> device;
    switch (input.take<std::uint8_t>() % 4) {
        case 0:
            device = make_disk();
            break;
        case 1:
            device = make_net(false, wire);
            break;
        case 2:
            device = make_net(true, wire);
            break;
        default:
            device = rng::EntropyDevice::create({}, engine()).value();
    }
    Driver driver(*device, input.take<std::uint64_t>());
    for (std::size_t i = 0; i < kMaxOperations && !input.empty(); ++i)
        driver.step(input, wire);
    return 0;
}
