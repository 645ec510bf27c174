// libFuzzer target: a driver that says and does whatever it likes to a socket device, and programs of the
// host that connect, listen, write and leave.
//
// Input: steps, each a byte that says what to do, then what that takes. Checks what must hold afterwards.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/fuzz/drivers.h"
#include "tests/fuzz/input.h"
#include "virtio/vsock/device.h"
#include "virtio/vsock/protocol.h"

using namespace hako;
using hako::fuzz::Input;
using hako::fuzz::require;
namespace vs = hako::virtio::vsock;

namespace {

constexpr std::uint64_t kMemory = 2 * MiB;
constexpr GuestAddress kSent{1 * MiB};
constexpr GuestAddress kBuffers{1 * MiB + 256 * KiB};
constexpr std::uint64_t kCid = 3;
constexpr std::uint32_t kListening = 7;  ///< a port of the host
constexpr std::size_t kMaxSteps = 64;
constexpr std::size_t kMaxPrograms = 8;

sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

/// What is made once: the thread, guest memory, and who listens on the host.
struct World : fuzz::World {
    World() : fuzz::World({.size = kMemory}, 3) {
        std::string name = (std::filesystem::temp_directory_path() / "hako-fuzz-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) std::abort();
        folder = name;
        config.id = "fuzz";
        config.cid = kCid;
        config.socket = folder + "/v";
        listener = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        const sockaddr_un address = address_of(config.socket + "_" + std::to_string(kListening));
        if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
            ::listen(listener.get(), 64) != 0)
            std::abort();
    }
    ~World() {
        std::error_code ignored;
        std::filesystem::remove_all(folder, ignored);
    }
    [[nodiscard]] std::unique_ptr<vs::VsockDevice> make(const std::optional<vs::State>& state = {}) {
        auto device = vs::VsockDevice::create(config, vs::HostEnd::open(config).value(), *engine, state);
        require(device.has_value(), "a state of the device itself is refused");
        return std::move(*device);
    }

    std::string folder;
    vs::Config config;
    Fd listener;
};

class Run {
  public:
    Run(World& world, Input input) : world_(world), input_(input), device_(world.make()) { begin({}); }
    ~Run() {
        device_->reset();
        require(device_->connections().open == 0, "a connection outlives a reset");
        // What waits to be accepted is of this run.
        while (Fd(::accept4(world_.listener.get(), nullptr, nullptr, SOCK_CLOEXEC)).valid()) {
        }
    }

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
            if ((input_.byte() & 1) != 0) features &= ~virtio::feature::kEventIdx;
            drivers_.start(*device_, features);
        }
        drivers_.activate(*device_, positions);
    }

    [[nodiscard]] std::size_t queue() { return input_.byte() % drivers_.size(); }

    void one() {
        switch (input_.byte() % 10) {
            case 0:
                return say();
            case 1:  // a buffer on any queue
                return offer(queue(), kBuffers, (input_.byte() & 1) != 0, input_.word());
            case 2: {  // any descriptor, and any entry
                const std::size_t index = queue();
                test::DriverQueue& driver = drivers_[index];
                driver.write_descriptor(input_.byte() % driver.size(), GuestAddress{input_.word() * 64U},
                                        input_.word(), input_.byte() % 8, input_.byte());
                driver.offer(input_.byte());
                return drivers_.kick(index);
            }
            case 3:  // buffers for packets
                for (std::uint64_t i = input_.byte() % 16; i > 0; --i)
                    offer(vs::kReceive, kBuffers + (i * 8 * KiB), true, 4140);
                return;
            case 4:
                return host_program();
            case 5: {  // somebody on the host writes
                if (programs_.empty()) return;
                const Fd& fd = programs_[input_.byte() % programs_.size()];
                const auto bytes = input_.take(input_.byte());
                (void)!::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
                return;
            }
            case 6: {  // or ends a direction, or all
                if (programs_.empty()) return;
                const std::size_t index = input_.byte() % programs_.size();
                const int how = input_.byte() % 4;
                if (how < 3) {
                    ::shutdown(programs_[index].get(), how);
                } else {
                    programs_.erase(programs_.begin() + static_cast<std::ptrdiff_t>(index));
                }
                return;
            }
            case 7: {  // saved, and restored elsewhere
                device_->pause();
                const auto positions = device_->queue_positions();
                const vs::State state = device_->state();
                device_.reset();
                device_ = world_.make(state);
                require(device_->state() == state, "a state changes when it is restored");
                return begin(positions);
            }
            case 8:
                device_->reset();
                require(device_->connections().open == 0, "a connection outlives a reset");
                return begin({});
            case 9:
                for (std::size_t i = 0; i < drivers_.size(); ++i)
                    take_used(i);
                return;
        }
    }

    /// A packet, mostly one that makes some sense.
    void say() {
        vs::Header header{.src_cid = kCid, .dst_cid = vs::kHostCid, .type = vs::kTypeStream};
        const std::uint8_t odd = input_.byte();
        if (odd == 1) header.src_cid = input_.byte();
        if (odd == 2) header.dst_cid = input_.byte();
        if (odd == 3) header.type = input_.byte();
        header.op = input_.byte() % 10;
        // Ports of the host's connections, or that the guest asks for.
        header.src_port = input_.byte() % 4;
        take_used(vs::kReceive);
        header.dst_port = (input_.byte() & 1) != 0 ? asked_[input_.byte() % asked_.size()] : kListening;
        header.flags = input_.byte() % 8;
        header.buf_alloc = input_.word();
        header.fwd_cnt = input_.word();
        const std::uint16_t length = input_.word();
        header.len = odd == 4 ? std::uint32_t{0xffff'0000} + length : length;
        if (!world_.memory.store(kSent, header)) return;
        // As long as it says, or not.
        const std::uint32_t bytes = odd == 5 ? input_.word() : length + std::uint32_t{sizeof header};
        offer(vs::kTransmit, kSent, odd == 6, bytes);
    }

    void host_program() {
        if (programs_.size() == kMaxPrograms) return;
        if ((input_.byte() & 1) != 0) {
            Fd fd(::accept4(world_.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (fd.valid()) programs_.push_back(std::move(fd));
            return;
        }
        Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        const sockaddr_un address = address_of(world_.config.socket);
        if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return;
        const std::string line = "CONNECT " + std::to_string(input_.byte() % 4) + "\n";
        if ((input_.byte() & 3) != 0) (void)!::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL);
        programs_.push_back(std::move(fd));
    }

    void take_used(std::size_t queue) {
        for (int i = 0; i < 256; ++i) {
            const auto used = drivers_[queue].take_used();
            if (!used) return;
            if (queue != vs::kReceive || used->head >= places_.size()) continue;
            require(used->written <= 64 * KiB + sizeof(vs::Header), "a packet longer than any");
            const auto heard = world_.memory.load<vs::Header>(places_[used->head]);
            if (heard && heard->op == static_cast<std::uint16_t>(vs::Operation::kRequest))
                asked_[asked_count_++ % asked_.size()] = heard->src_port;
        }
    }

    void offer(std::size_t queue, GuestAddress at, bool writable, std::uint32_t length) {
        const std::array buffers = {test::Buffer{at, length, writable}};
        const auto head = drivers_[queue].add(buffers);
        if (!head) return;
        if (queue == vs::kReceive) places_[*head] = at;
        drivers_.kick(queue);
    }

    World& world_;
    Input input_;
    std::unique_ptr<vs::VsockDevice> device_;
    fuzz::Drivers drivers_{world_.memory, world_.hooks, world_.kicks};
    std::vector<Fd> programs_;
    std::array<GuestAddress, vs::VsockDevice::kQueueSize>
        places_{};                          ///< of buffers for packets, by their head
    std::array<std::uint32_t, 4> asked_{};  ///< the host's ports of the last that it asked for
    std::size_t asked_count_ = 0;
};

void check_line(std::string_view text) {
    const auto port = vs::parse_connect(text.substr(0, text.find('\n')));
    if (port) require(text.starts_with("CONNECT "), "a line that asks for nothing");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static World world;
    check_line({reinterpret_cast<const char*>(data), size});
    Run(world, Input(data, size)).all();
    return 0;
}
