// libFuzzer target: a daemon of vhost-user that answers what it likes, with the descriptors it likes.
//
// Input: answers, each a byte that says how it is made, then what that takes. They wait in the socket before
// they are asked for; most are what hako expects next, so that a run gets far. Checks what must hold
// afterwards.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "tests/fuzz/transport.h"
#include "tests/unit/virtio/driver_queue.h"
#include "virtio/fs/device.h"
#include "vmm/base/log.h"

using namespace hako;
using hako::fuzz::require;
namespace vu = hako::virtio::vhost_user;
using vu::Request;

namespace {

constexpr std::size_t kMaxAnswers = 64;
constexpr std::chrono::milliseconds kPatience{1};

/// What is made once.
struct World {
    World() {
        set_log_level(LogLevel::kError);
        int ends[2] = {-1, -1};
        if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
        file = Fd(ends[0]);
        ::close(ends[1]);
    }

    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    GuestMemory memory = GuestMemory::create({.size = 2 * MiB}).value();
    fuzz::Hooks hooks{2};
    std::array<EventFd, 2> kicks = {EventFd::create().value(), EventFd::create().value()};
    Fd file;  ///< that a daemon hands over: a pipe at its end
};

class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : left_(data, size) {}
    [[nodiscard]] bool empty() const { return left_.empty(); }
    std::uint8_t byte() { return left_.empty() ? std::uint8_t{0} : take(1)[0]; }
    std::uint64_t number(std::size_t bytes) {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < bytes; ++i)
            value = value << 8 | byte();
        return value;
    }
    std::span<const std::uint8_t> take(std::size_t size) {
        const auto taken = left_.first(std::min(size, left_.size()));
        left_ = left_.subspan(taken.size());
        return taken;
    }

  private:
    std::span<const std::uint8_t> left_;
};

/// In the order in which hako asks when all goes well: to connect, to start, to pause, to save, and so on.
constexpr std::array kConnect = {Request::kGetFeatures, Request::kGetProtocolFeatures, Request::kGetQueueNum};
constexpr std::array kRing = {Request::kSetVringNum,   Request::kSetVringBase, Request::kSetVringAddr,
                              Request::kSetVringErr,   Request::kSetVringCall, Request::kSetVringKick,
                              Request::kSetVringEnable};

std::vector<Request> expected() {
    std::vector<Request> all(kConnect.begin(), kConnect.end());
    const auto add = [&](const auto& more) { all.insert(all.end(), more.begin(), more.end()); };
    add(std::array{Request::kSetMemTable, Request::kSetFeatures});
    add(kRing);
    add(kRing);
    add(std::array{Request::kSetLogBase, Request::kSetFeatures, Request::kSetVringAddr,
                   Request::kSetVringAddr});
    add(std::array{Request::kGetVringBase, Request::kGetVringBase, Request::kSetDeviceStateFd,
                   Request::kCheckDeviceState});
    add(kRing);
    return all;
}

/// What a daemon in its right mind says.
std::uint64_t good_value(Request request, std::size_t& ring) {
    switch (request) {
        case Request::kGetFeatures:
            return virtio::feature::kVersion1 | vu::feature::kProtocolFeatures | vu::feature::kLogAll;
        case Request::kGetProtocolFeatures:
            return vu::kProtocolFeatures;
        case Request::kGetQueueNum:
            return 2;
        case Request::kGetVringBase:
            return ring++ % 2;
        case Request::kSetDeviceStateFd:
            return vu::kStateNoFd;
        default:
            return 0;
    }
}

void send(int socket, std::span<const std::uint8_t> bytes, std::size_t fds, int fd) {
    if (bytes.empty()) return;
    iovec part{.iov_base = const_cast<std::uint8_t*>(bytes.data()), .iov_len = bytes.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 16)> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (fds > 0) {
        const std::vector<int> numbers(fds, fd);
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(fds * sizeof(int));
        cmsghdr* const head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(fds * sizeof(int));
        std::memcpy(CMSG_DATA(head), numbers.data(), fds * sizeof(int));
    }
    (void)!::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void answer(int socket, Input input, int file) {
    std::size_t ring = 0;
    std::size_t count = 0;
    for (const Request request : expected()) {
        if (++count > kMaxAnswers) return;
        const std::uint8_t how = input.byte();
        vu::Header header{.request = static_cast<std::uint32_t>(request),
                          .flags = vu::flag::kVersion | vu::flag::kReply,
                          .size = 8};
        std::uint64_t value = good_value(request, ring);
        if ((how & 1) != 0) value = input.number(8);
        if ((how & 2) != 0) header.request = static_cast<std::uint32_t>(input.number(1));
        if ((how & 4) != 0) header.flags = static_cast<std::uint32_t>(input.number(4));
        if ((how & 8) != 0) header.size = static_cast<std::uint32_t>(input.number(4));
        std::array<std::uint8_t, sizeof header + 8> bytes{};
        std::memcpy(bytes.data(), &header, sizeof header);
        std::memcpy(bytes.data() + sizeof header, &value, sizeof value);
        const std::size_t cut = (how & 16) != 0 ? input.byte() % bytes.size() : bytes.size();
        send(socket, std::span(bytes).first(cut), (how & 32) != 0 ? input.byte() % 12 : 0, file);
        if ((how & 64) != 0) send(socket, input.take(input.byte()), 0, -1);
        if ((how & 128) != 0) {
            ::shutdown(socket, SHUT_WR);
            return;
        }
    }
}

void use(World& world, std::unique_ptr<vu::Frontend> daemon, bool restored) {
    virtio::fs::Config config;
    config.id = "fuzz";
    config.tag = "fuzz";
    config.queue_size = 16;
    std::optional<virtio::fs::State> state;
    if (restored) state = virtio::fs::State{.features = virtio::feature::kVersion1, .daemon = {1, 2, 3}};
    auto made = virtio::fs::FsDevice::create(config, std::move(daemon), *world.engine, state);
    if (!made) return;
    virtio::fs::FsDevice& device = **made;
    std::vector<virtio::QueueConfig> queues;
    for (std::size_t i = 0; i < 2; ++i)
        queues.push_back(test::DriverQueue(world.memory, GuestAddress{i * 64 * KiB}, 16).config());
    const bool active = device
                            .activate({.features = device.features(),
                                       .memory = world.memory,
                                       .hooks = world.hooks,
                                       .queues = queues,
                                       .kicks = world.kicks,
                                       .positions = {}})
                            .has_value();
    [[maybe_unused]] const auto logged = device.log_writes(true, world.memory);
    device.collect_writes();
    device.pause();
    require(device.queue_positions().size() == (active ? 2 : 0), "a queue without a position");
    if (const auto saved = device.state())
        require(saved->daemon.size() <= vu::kMaxDeviceState, "a state that is too long");
    device.resume();
    [[maybe_unused]] const auto stopped = device.log_writes(false, world.memory);
    device.reset();
    require(device.queue_positions().empty(), "a queue outlives a reset");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static World world;
    const int lowest = ::dup(world.file.get());
    ::close(lowest);
    {
        int ends[2] = {-1, -1};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
        Fd front(ends[0]);
        const Fd own(ends[1]);
        Input input(data, size);
        const bool restored = (input.byte() & 1) != 0;
        answer(own.get(), input, world.file.get());
        auto daemon = vu::Frontend::adopt(std::move(front), kPatience);
        if (daemon) use(world, std::move(*daemon), restored);
    }
    const int after = ::dup(world.file.get());
    ::close(after);
    require(after == lowest, "a descriptor is left open");
    return 0;
}
