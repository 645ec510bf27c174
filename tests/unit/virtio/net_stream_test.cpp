// Interfaces on a stream socket, with the test in passt's place.
#include <fcntl.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/unit/virtio/net_fixture.h"

using namespace hako;
using namespace hako::virtio;
using namespace hako::virtio::net;
using namespace std::chrono_literals;
using test::Buffer;
using test::Frame;
using test::frame;
using test::kHeaderBytes;
using test::kPackets;
using test::NetFixture;
using test::nic_config;

namespace {

constexpr std::uint32_t kBufferBytes = 2048;

/// `length` bytes that count up from `seed`: a frame without a header.
Frame bare(std::size_t length, std::uint8_t seed) {
    const Frame whole = frame(length, seed);
    return {whole.begin() + kHeaderBytes, whole.end()};
}

Frame length_bytes(std::uint32_t length) {
    return {static_cast<std::uint8_t>(length >> 24), static_cast<std::uint8_t>(length >> 16),
            static_cast<std::uint8_t>(length >> 8), static_cast<std::uint8_t>(length)};
}

/// A frame as it goes over the wire.
Frame on_wire(const Frame& bytes) {
    Frame result = length_bytes(static_cast<std::uint32_t>(bytes.size()));
    result.insert(result.end(), bytes.begin(), bytes.end());
    return result;
}

/// The other end of the connection. Waits at most ten seconds for anything.
struct Peer {
    explicit Peer(Fd fd) : socket(std::move(fd)) {
        const timeval patience{.tv_sec = 10, .tv_usec = 0};
        ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    }
    void write(std::span<const std::uint8_t> bytes) const {
        while (!bytes.empty()) {
            const ssize_t sent = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
            REQUIRE(sent > 0);
            bytes = bytes.subspan(static_cast<std::size_t>(sent));
        }
    }
    /// So many bytes, taken `step` at a time; fewer at the end of the stream.
    [[nodiscard]] Frame read(std::size_t count, std::size_t step = 1 << 20) const {
        Frame bytes;
        while (bytes.size() < count) {
            Frame part(std::min(step, count - bytes.size()));
            const ssize_t got = ::recv(socket.get(), part.data(), part.size(), 0);
            if (got <= 0) break;
            bytes.insert(bytes.end(), part.begin(), part.begin() + got);
        }
        return bytes;
    }
    /// The next frame, or nothing at the end of the stream.
    [[nodiscard]] std::optional<Frame> read_frame(std::size_t step = 1 << 20) const {
        const Frame head = read(4, step);
        if (head.size() != 4) return std::nullopt;
        const std::size_t length =
            std::size_t{head[0]} << 24 | std::size_t{head[1]} << 16 | std::size_t{head[2]} << 8 | head[3];
        Frame body = read(length, step);
        if (body.size() != length) return std::nullopt;
        return body;
    }
    [[nodiscard]] bool at_end() const {
        std::uint8_t byte = 0;
        return ::recv(socket.get(), &byte, 1, 0) == 0;
    }

    Fd socket;
};

/// A socket in the file system that waits for hako, as passt's does.
class Listener {
  public:
    explicit Listener(std::filesystem::path where) : path(std::move(where)) { listen(); }
    ~Listener() { close(); }
    void listen() {
        socket_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::ranges::copy(path.string(), static_cast<char*>(address.sun_path));
        REQUIRE(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        REQUIRE(::listen(socket_.get(), 1) == 0);
    }
    void close() {
        socket_.reset();
        std::filesystem::remove(path);
    }
    [[nodiscard]] Peer accept() const {
        pollfd poll_fd{.fd = socket_.get(), .events = POLLIN, .revents = 0};
        REQUIRE(::poll(&poll_fd, 1, 10'000) == 1);
        return Peer(Fd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    }

    const std::filesystem::path path;

  private:
    Fd socket_;
};

/// A folder that goes with the test.
struct TempFolder {
    TempFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "hako-stream-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~TempFolder() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

/// Waits until the driver would see the link as `status`.
bool await_status(NetFixture& net, std::uint16_t status) {
    while (net.config_space().status != status) {
        if (!test::wait_for(net.transport.config_change)) return false;
    }
    return true;
}

std::array<Fd, 2> socket_pair(int send_buffer = 0) {
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    if (send_buffer != 0) ::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    return {Fd(ends[0]), Fd(ends[1])};
}

/// One interface on one end of a socket pair.
struct StreamNic {
    explicit StreamNic(const Config& config = nic_config(), int send_buffer = 0)
        : StreamNic(config, socket_pair(send_buffer)) {}
    StreamNic(const Config& config, std::array<Fd, 2> ends)
        : net(*engine, config, Stream::adopt(std::move(ends[0]), "test").value()), peer(std::move(ends[1])) {}

    /// The next packet in the driver's buffer at `at`, without its header.
    std::optional<Frame> received(GuestAddress at = kPackets) {
        const auto used = net.await(0);
        if (!used || used->written <= kHeaderBytes) return std::nullopt;
        return net.get(at + kHeaderBytes, used->written - kHeaderBytes);
    }
    /// Offers the driver's packet `length` long, header and all, in one buffer.
    void add_packet(GuestAddress at, std::size_t length, std::uint8_t seed) {
        net.put(at, frame(length, seed));
        REQUIRE(net.drivers[1].add(
            std::array{Buffer{at, static_cast<std::uint32_t>(kHeaderBytes + length), false}}));
    }

    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    NetFixture net;
    Peer peer;
};

}  // namespace

TEST_CASE("frames come whole out of a stream that is cut at any byte") {
    Frame stream;
    const std::array frames = {bare(14, 1), bare(60, 2), bare(1514, 3)};
    for (const Frame& each : frames)
        std::ranges::copy(on_wire(each), std::back_inserter(stream));
    for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
        FrameBuffer buffer;
        std::size_t found = 0;
        const auto feed = [&](std::size_t from, std::size_t to) {
            const auto room = buffer.room();
            REQUIRE(room.size() >= to - from);
            std::memcpy(room.data(), stream.data() + from, to - from);
            buffer.filled(to - from);
            for (auto next = buffer.next(); next; next = buffer.next()) {
                REQUIRE(std::ranges::equal(*next, std::as_bytes(std::span(frames[found]))));
                ++found;
                buffer.pop();
            }
            REQUIRE(buffer.next().error() == FrameBuffer::NoFrame::kIncomplete);
        };
        feed(0, cut);
        feed(cut, stream.size());
        REQUIRE(found == frames.size());
    }
}

TEST_CASE("the longest frames go through the buffer for ever, and no longer ones") {
    FrameBuffer buffer;
    const Frame longest = on_wire(bare(kMaxReceivedFrame, 7));
    for (int i = 0; i < 40; ++i) {
        for (std::span<const std::uint8_t> left(longest); !left.empty();) {
            const auto room = buffer.room();
            REQUIRE_FALSE(room.empty());
            const std::size_t count = std::min<std::size_t>({left.size(), room.size(), 30'011});
            std::memcpy(room.data(), left.data(), count);
            buffer.filled(count);
            left = left.subspan(count);
        }
        const auto next = buffer.next();
        REQUIRE(next);
        CHECK(std::ranges::equal(*next, std::as_bytes(std::span(longest)).subspan(4)));
        buffer.pop();
    }
    for (const std::uint32_t length : {0U, 13U, std::uint32_t{kMaxReceivedFrame + 1}, 0xffffffffU}) {
        buffer.clear();
        std::memcpy(buffer.room().data(), length_bytes(length).data(), 4);
        buffer.filled(4);
        CHECK(buffer.next().error() == FrameBuffer::NoFrame::kBadLength);
        CHECK(buffer.length() == length);
    }
}

TEST_CASE("stream: a packet of the guest leaves behind its length and without its header") {
    StreamNic nic;
    nic.net.activate();
    nic.net.send(frame(1514, 1, 1));
    CHECK(nic.peer.read_frame() == bare(1514, 1));
    // In pieces, by an indirect table, the header cut in two.
    nic.net.put(kPackets, frame(1514, 2));
    std::vector<Buffer> pieces = {{kPackets, 5, false}, {kPackets + 5, 20, false}};
    for (std::uint32_t at = 25; at < 1525; at += 20)
        pieces.push_back({kPackets + at, 20, false});
    pieces.push_back({kPackets + 1525, 1, false});
    REQUIRE(nic.net.drivers[1].add_indirect(pieces, GuestAddress{1 * MiB}));
    nic.net.kick(1);
    REQUIRE(nic.net.await(1));
    CHECK(nic.peer.read_frame() == bare(1514, 2));
    CHECK(nic.net.device->metrics(1).packets == 2);
    CHECK(nic.net.device->metrics(1).bytes == 2 * 1514);
}

TEST_CASE("stream: many packets leave in their order by few operations, with few interrupts") {
    StreamNic nic(nic_config(1, 256));
    nic.net.activate();
    for (std::uint8_t i = 0; i < 200; ++i)
        nic.add_packet(kPackets + std::uint64_t{4096} * i, 60, i);
    const std::uint64_t before = nic.engine->counters().sqes;
    nic.net.kick(1);
    for (std::uint8_t i = 0; i < 200; ++i) {
        REQUIRE(nic.net.await(1));
        CHECK(nic.peer.read_frame() == bare(60, i));
    }
    CHECK(nic.engine->counters().sqes - before < 20);
    CHECK(nic.net.device->metrics(1).interrupts < 10);
}

TEST_CASE("stream: many frames that come at once are read at once") {
    StreamNic nic(nic_config(1, 256));
    nic.net.activate();
    for (std::uint64_t i = 0; i < 128; ++i)
        nic.net.offer(kPackets + 4096 * i, kBufferBytes);
    nic.net.kick(0);
    nic.net.engine_round();
    Frame all;
    for (std::uint8_t i = 0; i < 128; ++i)
        std::ranges::copy(on_wire(bare(100, i)), std::back_inserter(all));
    const std::uint64_t before = nic.engine->counters().sqes;
    nic.peer.write(all);
    for (std::uint8_t i = 0; i < 128; ++i)
        CHECK(nic.received(kPackets + std::uint64_t{4096} * i) == bare(100, i));
    CHECK(nic.engine->counters().sqes - before < 20);
    CHECK(nic.net.header(kPackets).num_buffers == 1);
    CHECK(nic.net.header(kPackets).flags == 0);
    CHECK(nic.net.device->metrics(0).packets == 128);
    CHECK(nic.net.device->metrics(0).bytes == 12800);
}

TEST_CASE("stream: frames that trickle in byte by byte arrive whole") {
    StreamNic nic;
    nic.net.activate();
    for (std::uint8_t round = 0; round < 3; ++round) {
        nic.net.offer(kPackets, kBufferBytes);
        nic.net.kick(0);
        const Frame bytes = on_wire(bare(40, round));
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            CHECK_FALSE(nic.net.drivers[0].take_used());
            nic.peer.write(std::span(bytes).subspan(i, 1));
            nic.engine->run_sync([] {});
        }
        CHECK(nic.received() == bare(40, round));
    }
}

TEST_CASE("stream: an MTU of 65520 goes both ways, through a socket that takes it in pieces") {
    Config config = nic_config();
    config.mtu = 65520;
    StreamNic nic(config, 4096);
    nic.net.activate();
    CHECK(nic.net.config_space().mtu == 65520);
    constexpr std::size_t kLength = 65520 + 14;
    for (std::uint64_t i = 0; i < 6; ++i)
        nic.add_packet(kPackets + 128 * KiB * i, kLength, static_cast<std::uint8_t>(i));
    nic.net.kick(1);
    for (std::uint8_t i = 0; i < 6; ++i)
        CHECK(nic.peer.read_frame(977 + i) == bare(kLength, i));
    for (int i = 0; i < 6; ++i)
        REQUIRE(nic.net.await(1));
    CHECK(nic.net.device->metrics(1).packets == 6);
    CHECK(nic.net.device->metrics(1).dropped == 0);

    for (std::uint64_t i = 0; i < 17; ++i)
        nic.net.offer(kPackets + 4096 * i, 4096);
    nic.net.kick(0);
    nic.peer.write(on_wire(bare(kLength, 9)));
    std::size_t total = 0;
    while (total < kHeaderBytes + kLength) {
        const auto used = nic.net.await(0);
        REQUIRE(used);
        total += used->written;
    }
    CHECK(nic.net.header(kPackets).num_buffers == 17);
    CHECK(nic.net.get(kPackets + kHeaderBytes, kLength) == bare(kLength, 9));
}

TEST_CASE("stream: a slow reader holds the guest back; pausing does not wait for it, and nothing is lost") {
    StreamNic nic(nic_config(), 4096);
    nic.net.activate();
    for (std::uint64_t i = 0; i < 40; ++i)
        nic.add_packet(kPackets + 8192 * i, 5000, static_cast<std::uint8_t>(i));
    nic.net.kick(1);
    nic.net.engine_round();
    std::uint64_t back = 0;
    while (nic.net.drivers[1].take_used())
        ++back;
    CHECK(back > 0);
    CHECK(back < 40);
    nic.net.device->pause();
    CHECK(nic.net.device->queue_positions()[1].next_avail == back);
    CHECK(nic.net.device->queue_positions()[1].next_used == back);
    nic.net.device->resume();
    for (std::uint8_t i = 0; i < 40; ++i) {
        if (i % 8 == 3) {
            nic.net.device->pause();
            nic.net.device->resume();
        }
        CHECK(nic.peer.read_frame(1000) == bare(5000, i));
    }
    for (; back < 40; ++back)
        REQUIRE(nic.net.await(1));
    CHECK(nic.net.device->metrics(1).packets == 40);
    CHECK(nic.net.device->metrics(1).dropped == 0);
}

TEST_CASE("stream: frames wait for the driver's buffers, and the other end for the frames") {
    StreamNic nic;
    nic.net.activate();
    // More than buffer and sockets hold: it would never end, were it not read while buffers come.
    constexpr std::uint64_t kFrames = 600;
    ::fcntl(nic.peer.socket.get(), F_SETFL, O_NONBLOCK);
    Frame unsent;
    for (std::uint64_t sent = 0, received = 0; received < kFrames;) {
        for (;;) {
            if (unsent.empty() && sent < kFrames)
                unsent = on_wire(bare(1500, static_cast<std::uint8_t>(sent++)));
            if (unsent.empty()) break;
            const ssize_t count = ::send(nic.peer.socket.get(), unsent.data(), unsent.size(), MSG_NOSIGNAL);
            if (count <= 0) break;
            unsent.erase(unsent.begin(), unsent.begin() + count);
        }
        if (received == 0) CHECK(sent < kFrames);
        nic.net.offer(kPackets, kBufferBytes);
        nic.net.kick(0);
        CHECK(nic.received() == bare(1500, static_cast<std::uint8_t>(received)));
        ++received;
    }
    CHECK(nic.net.device->metrics(0).dropped == 0);
}

TEST_CASE("stream: a length that is none ends the connection, and the link is down") {
    for (const std::uint32_t length : {0U, 13U, std::uint32_t{kMaxReceivedFrame + 1}, 0x474554U << 8}) {
        StreamNic nic;
        nic.net.activate();
        CHECK(nic.net.config_space().status == 1);
        nic.net.offer(kPackets, kBufferBytes);
        nic.net.kick(0);
        Frame bytes = on_wire(bare(60, 1));  // what came before is good
        std::ranges::copy(length_bytes(length), std::back_inserter(bytes));
        std::ranges::copy(bare(500, 1), std::back_inserter(bytes));
        nic.peer.write(bytes);
        CHECK(nic.received() == bare(60, 1));
        CHECK(test::wait_for(nic.net.transport.config_change));
        CHECK(nic.net.config_space().status == 0);
        CHECK(nic.net.device->state().link_up);  // what the user said
        CHECK(nic.net.transport.reset_reason().empty());
        nic.net.send(frame(60, 2));
        CHECK(nic.net.device->metrics(1).dropped == 1);
        // Closed, with what was not read.
        std::uint8_t byte = 0;
        CHECK(::recv(nic.peer.socket.get(), &byte, 1, 0) <= 0);
    }
}

TEST_CASE("stream: packets that are none, and the link that the user takes down") {
    StreamNic nic;
    nic.net.activate();
    nic.add_packet(kPackets, 13, 1);                        // no Ethernet header
    nic.add_packet(kPackets + 4096, kMaxSentFrame + 1, 1);  // too long
    nic.add_packet(kPackets + 256 * KiB, 60, 1);            // good
    REQUIRE(nic.net.drivers[1].add(std::array{Buffer{kPackets, 100, true}}));
    nic.add_packet(kPackets + 256 * KiB + 4096, kMaxSentFrame, 2);  // just not too long
    nic.net.kick(1);
    for (int i = 0; i < 5; ++i)
        REQUIRE(nic.net.await(1));
    CHECK(nic.peer.read_frame() == bare(60, 1));
    CHECK(nic.peer.read_frame() == bare(kMaxSentFrame, 2));
    CHECK(nic.net.device->metrics(1).errors == 3);

    nic.net.device->set_link(false);
    CHECK(test::wait_for(nic.net.transport.config_change));
    nic.net.offer(kPackets, kBufferBytes);
    nic.net.kick(0);
    nic.peer.write(on_wire(bare(60, 3)));
    nic.net.send(frame(60, 4));
    nic.net.engine_round();
    CHECK(nic.net.device->metrics(0).dropped == 1);
    CHECK(nic.net.device->metrics(1).dropped == 1);
    nic.net.device->set_link(true);
    nic.peer.write(on_wire(bare(60, 5)));
    CHECK(nic.received() == bare(60, 5));
}

TEST_CASE("stream: a queue that breaks the rules stops both until reset") {
    StreamNic nic;
    nic.net.activate();
    nic.add_packet(kPackets + 8192, 60, 1);
    REQUIRE(nic.net.drivers[1].add(std::array{Buffer{GuestAddress{1024 * GiB}, 100, false}}));
    nic.net.kick(1);
    CHECK(test::wait_for(nic.net.transport.reset_wanted));
    CHECK(nic.peer.read_frame() == bare(60, 1));  // what came before went out
    nic.net.device->reset();
    nic.net.make_drivers();
    nic.net.activate();
    REQUIRE(nic.net.drivers[0].add(std::array{Buffer{kPackets, 100, false}}));
    nic.net.kick(0);
    nic.peer.write(on_wire(bare(60, 1)));
    CHECK(test::wait_for(nic.net.transport.reset_wanted));
    nic.net.device->reset();
    nic.net.make_drivers();
    nic.net.activate();
    nic.net.offer(kPackets, kBufferBytes);
    nic.net.kick(0);
    CHECK(nic.received() == bare(60, 1));  // the frame that met the bad buffer is still there
}

TEST_CASE("stream: frames cut by a reset or a reboot are made whole by the next life") {
    StreamNic nic(nic_config(), 4096);
    nic.net.activate();
    const Frame in = on_wire(bare(700, 1));
    nic.peer.write(std::span(in).first(300));
    nic.add_packet(kPackets, 60000, 2);  // more than the socket takes at once
    nic.net.kick(1);
    REQUIRE(nic.net.await(1));
    nic.net.engine_round();
    nic.net.device->reset();
    HostEnd end = nic.net.device->take_host_end();
    nic.net.device.reset();

    nic.net.device = NetDevice::create(nic_config(), std::move(end), *nic.engine).value();
    nic.net.make_drivers();
    nic.net.activate();
    nic.add_packet(kPackets, 100, 3);
    nic.net.kick(1);
    CHECK(nic.peer.read_frame() == bare(60000, 2));
    CHECK(nic.peer.read_frame() == bare(100, 3));
    nic.net.offer(kPackets, kBufferBytes);
    nic.net.kick(0);
    nic.peer.write(std::span(in).subspan(300));
    CHECK(nic.received() == bare(700, 1));
}

TEST_CASE("stream: a restored device goes on where the saved one stood, on another connection") {
    StreamNic nic;
    nic.net.activate();
    nic.net.send(frame(60, 1));
    nic.net.device->pause();
    const State state = nic.net.device->state();
    const auto positions = nic.net.device->queue_positions();
    CHECK(positions[1] == QueuePosition{.next_avail = 1, .next_used = 1});
    nic.net.device.reset();
    CHECK(nic.peer.read_frame() == bare(60, 1));
    CHECK(nic.peer.at_end());

    auto ends = socket_pair();
    nic.net.device =
        NetDevice::create(nic_config(), Stream::adopt(std::move(ends[0]), "test").value(), *nic.engine, state)
            .value();
    const Peer peer(std::move(ends[1]));
    nic.net.activate(0, positions);
    CHECK(nic.net.device->state() == state);
    nic.net.send(frame(60, 2));
    CHECK(peer.read_frame() == bare(60, 2));
}

TEST_CASE("stream: passt goes and comes back: the link follows, and cut frames are forgotten") {
    const TempFolder folder;
    Listener passt(folder.path / "passt");
    Config config = nic_config();
    config.socket = passt.path;
    auto engine = io::Engine::create().value();
    NetFixture net(*engine, config, HostEnd::open(config).value());
    net.activate();
    for (std::uint8_t round = 0; round < 3; ++round) {
        {
            const Peer peer = passt.accept();
            CHECK(await_status(net, 1));
            net.send(frame(60, round));
            CHECK(peer.read_frame() == bare(60, round));
            net.offer(kPackets, kBufferBytes);
            net.kick(0);
            peer.write(on_wire(bare(61, round)));
            REQUIRE(net.await(0));
            CHECK(net.get(kPackets + kHeaderBytes, 61) == bare(61, round));
            const Frame cut = on_wire(bare(500, 1));
            peer.write(std::span(cut).first(100));
            // Down before the end is seen: it must not connect to the queue of this listener.
            if (round == 1) passt.close();
        }
        if (round != 1) continue;
        CHECK(await_status(net, 0));
        net.send(frame(60, 9));  // a network without a cable
        CHECK(net.device->metrics(1).dropped == 1);
        net.device->pause();
        passt.listen();
        net.device->resume();
    }
    CHECK(net.transport.reset_reason().empty());
    CHECK(net.device->metrics(0).packets == 3);
}

TEST_CASE("stream: without its passt a device can be reset, paused, taken over and destroyed") {
    const TempFolder folder;
    Listener passt(folder.path / "passt");
    Config config = nic_config();
    config.socket = passt.path;
    auto engine = io::Engine::create().value();
    NetFixture net(*engine, config, HostEnd::open(config).value());
    net.activate();
    passt.close();  // with the connection that waits in it
    CHECK(await_status(net, 0));
    net.device->pause();
    net.device->resume();
    net.device->reset();
    HostEnd end = net.device->take_host_end();
    net.device.reset();
    CHECK_FALSE(end.stream->connected());

    net.device = NetDevice::create(config, std::move(end), *engine).value();
    net.make_drivers();
    CHECK(net.config_space().status == 0);
    net.activate();
    passt.listen();
    const Peer peer = passt.accept();
    CHECK(await_status(net, 1));
    net.send(frame(60, 1));
    CHECK(peer.read_frame() == bare(60, 1));
}

TEST_CASE("stream: no offload is offered, and a state or a configuration with more is refused") {
    StreamNic nic;
    const std::uint64_t features = nic.net.device->features();
    CHECK((features & (net::feature::kCsum | net::feature::kHostTso4 | net::feature::kHostTso6 |
                       kGuestOffloads | net::feature::kCtrlGuestOffloads | net::feature::kMultiQueue)) == 0);
    CHECK((features & net::feature::kMergeableBuffers) != 0);
    CHECK((features & net::feature::kStatus) != 0);
    const auto made = [&](const Config& config, const std::optional<State>& state) {
        return NetDevice::create(config, Stream::adopt(std::move(socket_pair()[0]), "test").value(),
                                 *nic.engine, state);
    };
    State state = nic.net.device->state();
    CHECK(made(nic_config(), state));
    state.features |= net::feature::kHostTso4;
    CHECK_FALSE(made(nic_config(), state));
    const auto pairs = made(nic_config(2), std::nullopt);
    REQUIRE_FALSE(pairs);
    CHECK(pairs.error().text().find("a stream socket carries one") != std::string::npos);
}

TEST_CASE("stream: what cannot be connected to is refused with what to do") {
    const TempFolder folder;
    const auto error = [](std::string path) {
        Config config = nic_config();
        config.socket = std::move(path);
        const auto end = HostEnd::open(config);
        REQUIRE_FALSE(end);
        CHECK(end.error().fault() == Fault::kInput);
        return end.error().text();
    };
    const std::string missing = folder.path / "missing";
    CHECK(error(missing) ==
          "there is no socket " + missing + ": start passt first (passt --socket " + missing + ")");
    const std::string dead = folder.path / "dead";
    {
        Listener once(dead);
        std::filesystem::rename(dead, folder.path / "kept");
        std::filesystem::create_hard_link(folder.path / "kept", dead);
    }
    CHECK(error(folder.path / "kept").starts_with("nobody listens at "));
    CHECK(error(folder.path / std::string(200, 'a')).find("longer than a socket's may be") !=
          std::string::npos);

    Config config = nic_config();
    Fd unconnected(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    config.fds = {unconnected.get()};
    const auto refused = HostEnd::open(config);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text().find("is no connected stream socket") != std::string::npos);
    auto ends = socket_pair();
    config.fds = {ends[0].get()};
    const auto good = HostEnd::open(config);
    REQUIRE(good);
    CHECK(good->stream);
    CHECK_FALSE(good->stream->can_connect());
    config.fds = {ends[0].get(), ends[1].get()};
    CHECK_FALSE(HostEnd::open(config));
}

TEST_CASE("stream: limits hold both ways, what waits does so in the queue and at the other end") {
    const io::RateLimits few = {.bytes = {}, .operations = {.tokens = 1, .interval = 24h, .burst = 5}};
    Config config = nic_config();
    config.limits = {.rx = few, .tx = few};
    StreamNic nic(config);
    nic.net.activate();
    for (std::uint8_t i = 0; i < 20; ++i) {
        nic.add_packet(kPackets + std::uint64_t{4096} * i, 60, i);
        nic.net.offer(kPackets + 1 * MiB + std::uint64_t{4096} * i, kBufferBytes);
        nic.peer.write(on_wire(bare(60, i)));
    }
    nic.net.kick(1);
    nic.net.kick(0);
    for (std::uint8_t i = 0; i < 5; ++i) {
        CHECK(nic.peer.read_frame() == bare(60, i));
        REQUIRE(nic.net.await(1));
        CHECK(nic.received(kPackets + 1 * MiB + std::uint64_t{4096} * i) == bare(60, i));
    }
    nic.net.engine_round();
    CHECK_FALSE(nic.net.drivers[0].take_used());
    CHECK_FALSE(nic.net.drivers[1].take_used());
    CHECK(nic.net.device->metrics(0).throttled == 1);
    CHECK(nic.net.device->metrics(1).throttled == 1);
    nic.net.device->pause();  // delivers the few frames that were read already
    CHECK(nic.net.device->queue_positions()[1] == QueuePosition{.next_avail = 5, .next_used = 5});
    nic.net.device->resume();
    REQUIRE(nic.net.device->set_limits({}));
    for (std::uint8_t i = 5; i < 20; ++i) {
        CHECK(nic.peer.read_frame() == bare(60, i));
        REQUIRE(nic.net.await(1));
        CHECK(nic.received(kPackets + 1 * MiB + std::uint64_t{4096} * i) == bare(60, i));
    }
}
