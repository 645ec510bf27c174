#include "tests/unit/virtio/vsock_fixture.h"

using namespace hako;
using test::Heard;
using test::Op;
using test::VsockFixture;

namespace {

namespace dev = virtio::vsock;

constexpr dev::Ports kPorts{.host = 5000, .guest = 900};

struct Place {
    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    VsockFixture fixture{*engine};
};

}  // namespace

TEST_CASE("a line that asks for a port is one, and nothing else is") {
    CHECK(dev::parse_connect("CONNECT 1024") == 1024);
    CHECK(dev::parse_connect("CONNECT 0") == 0);
    CHECK(dev::parse_connect("CONNECT 4294967295") == 4294967295);
    CHECK(dev::parse_connect("CONNECT 1024\r") == 1024);
    for (const std::string_view line :
         {"", "CONNECT", "CONNECT ", "CONNECT x", "CONNECT 1 ", "CONNECT  1", "CONNECT -1", "CONNECT +1",
          "CONNECT 4294967296", "connect 1", "CONNECT 1\r\r", "CONNECT 0x10", "GET / HTTP/1.1"}) {
        INFO(line);
        CHECK_FALSE(dev::parse_connect(line));
    }
    CHECK(dev::ConnectAnswer(1073741824).text() == "OK 1073741824\n");
    CHECK(dev::ConnectAnswer(4294967295).text() == "OK 4294967295\n");
}

TEST_CASE("the guest's address is in the configuration, and reserved ones are refused") {
    Place place;
    VsockFixture& fixture = place.fixture;
    std::array<std::byte, 12> space{};
    fixture.device->read_config(0, space);
    std::uint64_t cid = 0;
    std::memcpy(&cid, space.data(), sizeof cid);
    CHECK(cid == test::kCid);
    CHECK(space[8] == std::byte{0});
    fixture.device->read_config(0xffff'fff0, space);
    CHECK(space[0] == std::byte{0});
    for (const std::uint64_t bad :
         {std::uint64_t{0}, std::uint64_t{2}, std::uint64_t{0xffff'ffff}, std::uint64_t{1} << 32}) {
        dev::Config config = fixture.config;
        config.cid = bad;
        config.socket = fixture.directory.file("other");
        CHECK_FALSE(dev::VsockDevice::create(config, dev::HostEnd::open(config).value(), *place.engine));
    }
}

TEST_CASE("a path must leave room for a port, and its socket goes with the device") {
    Place place;
    VsockFixture& fixture = place.fixture;
    dev::Config config = fixture.config;
    config.socket = "/tmp/" + std::string(92, 'x');
    CHECK_FALSE(dev::HostEnd::open(config));
    CHECK(std::filesystem::exists(fixture.config.socket));
    CHECK_FALSE(dev::HostEnd::open(fixture.config));  // it is served
    fixture.device.reset();
    CHECK_FALSE(std::filesystem::exists(fixture.config.socket));
}

TEST_CASE("a program on the host connects to the guest, and bytes go both ways") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    dev::Ports ports;
    const Fd client = fixture.connect(1024, ports);
    fixture.say_bytes(ports, "hello host");
    CHECK(VsockFixture::read(client, 10) == "hello host");
    VsockFixture::write(client, "hello guest");
    const Heard heard = fixture.hear();
    CHECK(heard.op() == Op::kReadWrite);
    CHECK(heard.payload == "hello guest");
    CHECK(heard.header.src_port == ports.host);
    CHECK(heard.header.dst_port == 1024);
    CHECK(heard.header.type == dev::kTypeStream);
    CHECK(heard.header.buf_alloc == dev::Connection::kBufAlloc);
    CHECK(heard.header.fwd_cnt == 10);  // the answer to CONNECT is none of the guest's bytes
    CHECK(fixture.device->connections() == dev::ConnectionMetrics{.from_host = 1, .open = 1});
    CHECK(fixture.device->metrics(dev::kTransmit).bytes == 10);
    CHECK(fixture.device->metrics(dev::kReceive).bytes == 11);
}

TEST_CASE("what a client sends right behind its line is for the guest") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    const Fd client = fixture.connect();
    VsockFixture::write(client, "CONN");
    CHECK_FALSE(fixture.heard_already());
    VsockFixture::write(client, "ECT 7\nand more");
    const Heard request = fixture.hear();
    CHECK(request.op() == Op::kRequest);
    const dev::Ports ports{.host = request.header.src_port, .guest = 7};
    fixture.say(Op::kResponse, ports);
    CHECK(fixture.hear().payload == "and more");
}

TEST_CASE("a client whose first line makes no sense is let go") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    for (const std::string_view text :
         {std::string_view("HELLO\n"), std::string_view("CONNECT 1 2 3 4 5 6 7 8 9 10 11"),
          std::string_view("\n")}) {
        const Fd client = fixture.connect();
        VsockFixture::write(client, text);
        CHECK(VsockFixture::ended(client));
    }
    {
        const Fd client = fixture.connect();
        VsockFixture::write(client, "CONNECT 1");
        REQUIRE(::shutdown(client.get(), SHUT_WR) == 0);
        CHECK(VsockFixture::ended(client));
    }
    CHECK(fixture.until([&] { return fixture.device->connections().open == 0; }));
    CHECK(fixture.device->connections().refused == 4);
}

TEST_CASE("a client is let go when nobody in the guest listens") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    const Fd client = fixture.connect();
    VsockFixture::write(client, "CONNECT 1024\n");
    const Heard request = fixture.hear();
    fixture.say(Op::kReset, {.host = request.header.src_port, .guest = 1024});
    CHECK(VsockFixture::ended(client));
    CHECK(fixture.until([&] { return fixture.device->connections().open == 0; }));
}

TEST_CASE("the guest connects to who listens, and is refused where nobody does") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    fixture.say(Op::kRequest, kPorts);
    const Heard refused = fixture.hear();
    CHECK(refused.op() == Op::kReset);
    CHECK(refused.header.dst_port == kPorts.guest);
    CHECK(refused.header.src_port == kPorts.host);

    const Fd listener = fixture.listen(kPorts.host);
    const Fd host = fixture.accept(listener, kPorts);
    fixture.say_bytes(kPorts, "ping");
    CHECK(VsockFixture::read(host, 4) == "ping");
    VsockFixture::write(host, "pong");
    CHECK(fixture.hear().payload == "pong");
    CHECK(fixture.device->connections() == dev::ConnectionMetrics{.from_guest = 1, .refused = 1, .open = 1});
    // The same once more is a broken rule.
    fixture.say(Op::kRequest, kPorts);
    CHECK(fixture.hear().op() == Op::kReset);
    CHECK(VsockFixture::ended(host));
}

TEST_CASE("packets that make no sense are answered with a reset, but for resets") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    const auto answer = [&](const dev::Header& header, std::string_view payload = {}) {
        fixture.say(header, payload);
        const Heard heard = fixture.hear();
        CHECK(heard.op() == Op::kReset);
        CHECK(heard.header.type == std::uint16_t{header.type});
        CHECK(heard.header.dst_port == std::uint32_t{header.src_port});
        CHECK(heard.header.src_port == std::uint32_t{header.dst_port});
        return heard;
    };
    for (const Op op : {Op::kInvalid, Op::kResponse, Op::kShutdown, Op::kReadWrite, Op::kCreditUpdate,
                        Op::kCreditRequest, static_cast<Op>(77)})
        answer(fixture.header(op, kPorts));
    dev::Header header = fixture.header(Op::kRequest, kPorts);
    header.type = 2;  // seqpacket
    answer(header);
    // Longer than the chain.
    answer(fixture.header(Op::kReadWrite, kPorts, 5), "abcd");
    // Not from the guest's address: nobody hears of it.
    header = fixture.header(Op::kRequest, kPorts);
    header.src_cid = 99;
    fixture.say(header);
    fixture.say(Op::kReset, kPorts);
    // Chains that are no packet.
    REQUIRE(fixture.drivers[dev::kTransmit].add(std::array{test::Buffer{test::kSent, 43, false}}));
    fixture.kick(dev::kTransmit);
    REQUIRE(fixture.await(dev::kTransmit));
    REQUIRE(fixture.drivers[dev::kTransmit].add(
        std::array{test::Buffer{test::kSent, 44, false}, test::Buffer{test::kSent + 64, 44, true}}));
    fixture.kick(dev::kTransmit);
    REQUIRE(fixture.await(dev::kTransmit));
    fixture.offer(1);
    CHECK_FALSE(fixture.heard_already());
    CHECK(fixture.device->metrics(dev::kTransmit).dropped == 1);
    CHECK(fixture.device->metrics(dev::kTransmit).errors == 3);
    CHECK(fixture.transport.reset_reason().empty());
}

TEST_CASE("a packet to another address than the host's is refused") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    dev::Header header = fixture.header(Op::kRequest, kPorts);
    header.dst_cid = 7;
    fixture.offer_packet(header, {});
    fixture.offer(1);
    const auto used = fixture.await(dev::kReceive);
    REQUIRE(used);
    const auto heard = fixture.memory.load<dev::Header>(test::kReceived).value();
    CHECK(std::uint16_t{heard.op} == static_cast<std::uint16_t>(Op::kReset));
    CHECK(std::uint64_t{heard.src_cid} == 7);
    CHECK(std::uint64_t{heard.dst_cid} == test::kCid);
}

TEST_CASE("the device sends no more than the guest has room for") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.room = 1000;
    fixture.activate();
    dev::Ports ports;
    const Fd client = fixture.connect(1024, ports);
    const std::string text = test::pattern(2500);
    VsockFixture::write(client, text);
    Heard heard = fixture.hear();
    CHECK(heard.payload == text.substr(0, 1000));
    // It is asked for more.
    CHECK(fixture.hear().op() == Op::kCreditRequest);
    fixture.taken = 600;
    fixture.say(Op::kCreditUpdate, ports);
    CHECK(fixture.hear().payload == text.substr(1000, 600));
    CHECK(fixture.hear().op() == Op::kCreditRequest);
    // Numbers that make no sense give nothing, and hurt nobody.
    fixture.taken = 5000;
    fixture.say(Op::kCreditUpdate, ports);
    fixture.offer(1);
    CHECK_FALSE(fixture.heard_already());
    fixture.taken = 1600;
    fixture.room = 100'000;
    fixture.say(Op::kCreditUpdate, ports);
    heard = *fixture.heard();
    if (heard.op() == Op::kCreditRequest) heard = fixture.hear();
    CHECK(heard.payload == text.substr(1600));
}

TEST_CASE("a host that does not read stops the guest by credit, and what it was sent is not lost") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    dev::Ports ports;
    const Fd client = fixture.connect(1024, ports);
    fixture.offer(120);
    std::uint64_t sent = 0;
    std::uint32_t forwarded = 0;
    std::string expected;
    const auto hear_credit = [&] {
        while (const auto heard = fixture.heard_already()) {
            CHECK(heard->op() == Op::kCreditUpdate);
            forwarded = heard->header.fwd_cnt;
        }
    };
    // As much as credit allows, until the socket is full.
    for (bool stuck = false; !stuck;) {
        while (sent - forwarded + 4096 <= dev::Connection::kBufAlloc) {
            const std::string text = test::pattern(4096);
            fixture.say_bytes(ports, text);
            expected += text;
            sent += text.size();
            hear_credit();
        }
        stuck = !test::wait_for(fixture.transport.interrupts[dev::kReceive], std::chrono::milliseconds(200));
        hear_credit();
    }
    CHECK(sent > dev::Connection::kBufAlloc);
    CHECK(fixture.device->connections().resets == 0);
    CHECK(VsockFixture::read(client, expected.size()) == expected);
    REQUIRE(fixture.until([&] {
        hear_credit();
        return sent - forwarded <= dev::Connection::kBufAlloc / 2;
    }));
    // An explicit question is answered.
    fixture.say(Op::kCreditRequest, ports);
    const auto heard = fixture.heard();
    REQUIRE(heard);
    CHECK(heard->op() == Op::kCreditUpdate);
    CHECK(heard->header.fwd_cnt == static_cast<std::uint32_t>(sent));
}

TEST_CASE("a guest that sends more than it has credit for loses the connection") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    dev::Ports ports;
    const Fd client = fixture.connect(1024, ports);
    const std::string text = test::pattern(dev::Connection::kBufAlloc + 1);
    fixture.say_bytes(ports, text);
    CHECK(fixture.hear().op() == Op::kReset);
    CHECK(VsockFixture::ended(client));
    CHECK(fixture.device->connections().resets == 1);
    CHECK(fixture.until([&] { return fixture.device->connections().open == 0; }));
}

TEST_CASE("the host ends its direction, and the guest goes on") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    dev::Ports ports;
    Fd client = fixture.connect(1024, ports);
    VsockFixture::write(client, "last");
    REQUIRE(::shutdown(client.get(), SHUT_WR) == 0);
    CHECK(fixture.hear().payload == "last");
    Heard heard = fixture.hear();
    CHECK(heard.op() == Op::kShutdown);
    CHECK(heard.header.flags == dev::kNoSend);
    fixture.say_bytes(ports, "answer");
    CHECK(VsockFixture::read(client, 6) == "answer");
    // It goes for good: nobody but the poll tells.
    client.reset();
    heard = fixture.hear();
    CHECK(heard.op() == Op::kShutdown);
    CHECK(heard.header.flags == dev::kNoMore);
    fixture.say(Op::kReset, ports);
    CHECK(fixture.until([&] { return fixture.device->connections().open == 0; }));
}

TEST_CASE("the guest ends its direction, and the host goes on") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    const Fd listener = fixture.listen(kPorts.host);
    Fd host = fixture.accept(listener, kPorts);
    fixture.say_bytes(kPorts, "last");
    fixture.say_shutdown(kPorts, dev::kNoSend);
    CHECK(VsockFixture::read(host, 100) == "last");
    VsockFixture::write(host, "answer");
    CHECK(fixture.hear().payload == "answer");
    // More after that is a broken rule.
    fixture.say_bytes(kPorts, "more");
    CHECK(fixture.hear().op() == Op::kReset);
    CHECK(VsockFixture::ended(host));
}

TEST_CASE("a guest that receives no more stops the host's writes") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    dev::Ports ports;
    const Fd client = fixture.connect(1024, ports);
    fixture.say_shutdown(ports, dev::kNoReceive);
    CHECK(fixture.until([&] { return ::send(client.get(), "x", 1, MSG_NOSIGNAL) < 0; }));
    fixture.say_bytes(ports, "still");
    CHECK(VsockFixture::read(client, 5) == "still");
}

TEST_CASE("what a guest sent before it left reaches a host that reads late") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    dev::Ports ports;
    const Fd client = fixture.connect(1024, ports);
    // More than the socket holds, so that some is still in the device.
    int bytes = 4096;
    REQUIRE(::setsockopt(client.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) == 0);
    std::string expected;
    for (int i = 0; i < 31; ++i) {
        const std::string text = test::pattern(4096);
        fixture.say_bytes(ports, text);
        expected += text;
    }
    fixture.say_shutdown(ports, dev::kNoMore);
    CHECK(fixture.hear().op() == Op::kReset);
    CHECK(VsockFixture::read(client, expected.size() + 1) == expected);
    CHECK(fixture.until([&] { return fixture.device->connections().open == 0; }));
    CHECK(fixture.device->connections().resets == 0);
}

TEST_CASE("a host that goes at once is told to the guest, which closes") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    dev::Ports ports;
    Fd client = fixture.connect(1024, ports);
    VsockFixture::write(client, "bye");
    client.reset();
    fixture.offer(3);
    std::uint32_t flags = 0;
    std::string text;
    while (flags != dev::kNoMore) {
        const auto heard = fixture.heard();
        REQUIRE(heard);
        text += heard->payload;
        if (heard->op() == Op::kShutdown) flags = heard->header.flags;
    }
    CHECK(text == "bye");
    // What the guest had on its way is lost, and no fault of its.
    fixture.say_bytes(ports, "late");
    fixture.say_shutdown(ports, dev::kNoMore);
    const Heard answer = fixture.hear();
    CHECK(answer.op() == Op::kReset);
    CHECK(fixture.until([&] { return fixture.device->connections().open == 0; }));
}

TEST_CASE("many connections at once, each with its own bytes, in turns") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    std::vector<Fd> clients;
    std::map<std::uint32_t, std::string> expected;
    for (std::uint32_t i = 0; i < 100; ++i) {
        dev::Ports ports;
        clients.push_back(fixture.connect(i, ports));
        expected[ports.host] = "from " + std::to_string(i);
    }
    for (std::uint32_t i = 0; i < 100; ++i)
        VsockFixture::write(clients[i], "from " + std::to_string(i));
    CHECK(fixture.device->connections().open == 100);
    for (std::uint32_t i = 0; i < 100; ++i) {
        const Heard heard = fixture.hear();
        CHECK(heard.payload == expected[heard.header.src_port]);
        expected.erase(heard.header.src_port);
    }
    CHECK(expected.empty());
}

TEST_CASE("the pool is bounded: who comes when it is full is turned away") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    std::vector<Fd> clients;
    for (std::size_t i = 0; i < dev::kMaxConnections; ++i)
        clients.push_back(fixture.connect());
    CHECK(fixture.until([&] { return fixture.device->connections().open == dev::kMaxConnections; }));
    const Fd refused = fixture.connect();
    CHECK(VsockFixture::ended(refused));
    const Fd listener = fixture.listen(kPorts.host);
    fixture.say(Op::kRequest, kPorts);
    CHECK(fixture.hear().op() == Op::kReset);
    clients.clear();
    CHECK(fixture.until([&] { return fixture.device->connections().open == 0; }));
    const Fd host = fixture.accept(listener, kPorts);
}

TEST_CASE("a guest that offers no buffers holds up itself, not the host's memory") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    dev::Ports ports;
    const Fd client = fixture.connect(1024, ports);
    // The host's writer is stopped by its socket.
    const std::string text = test::pattern(65536);
    std::size_t written = 0;
    CHECK(fixture.until([&] {
        const ssize_t count = ::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count > 0) written += static_cast<std::size_t>(count);
        return count < 0 && written > 0;
    }));
    CHECK(written < 4 * MiB);
    // Answers to the guest wait in bounded memory: it is stopped too.
    int taken = 0;
    for (bool stuck = false; !stuck; ++taken) {
        REQUIRE(taken < 10'000);
        fixture.offer_packet(fixture.header(Op::kCreditUpdate, kPorts), {});
        stuck = !test::wait_for(fixture.transport.interrupts[dev::kTransmit], std::chrono::milliseconds(300));
        while (fixture.drivers[dev::kTransmit].take_used()) {
        }
    }
    CHECK(taken > 100);
    // And goes on when it takes them.
    fixture.offer(100);
    CHECK(test::wait_for(fixture.transport.interrupts[dev::kTransmit]));
}

TEST_CASE("a receive buffer without room for payload breaks the device") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    fixture.say(Op::kCreditUpdate, kPorts);
    REQUIRE(fixture.drivers[dev::kReceive].add(std::array{test::Buffer{test::kReceived, 44, true}}));
    fixture.kick(dev::kReceive);
    CHECK(test::wait_for(fixture.transport.reset_wanted));
    fixture.device->reset();
    fixture.make_drivers();
    fixture.activate();
    fixture.say(Op::kCreditUpdate, kPorts);
    CHECK(fixture.hear().op() == Op::kReset);
}

TEST_CASE("a pause keeps connections, and what the host sends meanwhile comes after it") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    dev::Ports ports;
    const Fd client = fixture.connect(1024, ports);
    fixture.offer(1);
    fixture.device->pause();
    VsockFixture::write(client, "meanwhile");
    fixture.offer_packet(fixture.header(Op::kReadWrite, ports, 3), "abc");
    for (int i = 0; i < 20; ++i)
        place.engine->run_sync([] { ::usleep(500); });
    CHECK_FALSE(fixture.heard_already());
    CHECK_FALSE(fixture.drivers[dev::kTransmit].take_used());
    fixture.device->resume();
    const auto heard = fixture.heard();
    REQUIRE(heard);
    CHECK(heard->payload == "meanwhile");
    CHECK(VsockFixture::read(client, 3) == "abc");
}

TEST_CASE("a restored driver is told that its connections are over, and makes new ones") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    dev::Ports ports;
    const Fd client = fixture.connect(1024, ports);
    const auto offer_event = [&] {
        REQUIRE(fixture.drivers[dev::kEvents].add(std::array{test::Buffer{test::kEventBuffer, 4, true}}));
        fixture.kick(dev::kEvents);
    };
    REQUIRE(fixture.memory.store(test::kEventBuffer, std::uint32_t{0xffff'ffff}));
    offer_event();
    CHECK_FALSE(fixture.drivers[dev::kEvents].take_used());
    fixture.restore();
    CHECK(VsockFixture::ended(client));
    const auto used = fixture.await(dev::kEvents);
    REQUIRE(used);
    CHECK(used->written == 4);
    CHECK(fixture.memory.load<std::uint32_t>(test::kEventBuffer) == dev::kTransportReset);
    // Packets of before belong to nobody.
    fixture.say_bytes(ports, "old");
    CHECK(fixture.hear().op() == Op::kReset);
    // Nor is a new connection taken for one of before, which the guest may not have closed yet.
    const std::uint32_t old_port = ports.host;
    const Fd next = fixture.connect(1024, ports);
    CHECK(ports.host != old_port);
    fixture.say_bytes(ports, "new");
    CHECK(VsockFixture::read(next, 3) == "new");
    // Once: a pause and more buffers bring no other.
    fixture.device->pause();
    fixture.device->resume();
    offer_event();
    fixture.say(Op::kCreditUpdate, ports);
    CHECK_FALSE(fixture.drivers[dev::kEvents].take_used());
}

TEST_CASE("the event waits for a buffer") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    fixture.restore();
    fixture.say(Op::kCreditUpdate, kPorts);
    REQUIRE(fixture.drivers[dev::kEvents].add(std::array{test::Buffer{test::kEventBuffer, 4, true}}));
    fixture.kick(dev::kEvents);
    CHECK(fixture.await(dev::kEvents));
}

TEST_CASE("a reset ends all connections, and clients wait until the driver is there again") {
    Place place;
    VsockFixture& fixture = place.fixture;
    fixture.activate();
    dev::Ports ports;
    const Fd client = fixture.connect(1024, ports);
    const Fd early = fixture.connect();
    fixture.device->reset();
    CHECK(VsockFixture::ended(client));
    CHECK(fixture.device->connections().open == 0);
    const Fd waiting = fixture.connect();
    VsockFixture::write(waiting, "CONNECT 9\n");
    fixture.make_drivers();
    fixture.activate();
    const Heard request = fixture.hear();
    CHECK(request.op() == Op::kRequest);
    CHECK(request.header.dst_port == 9);
    CHECK(fixture.drivers[dev::kEvents].used_index() == 0);
}

TEST_CASE("a state of another device is refused") {
    Place place;
    VsockFixture& fixture = place.fixture;
    dev::Config config = fixture.config;
    config.socket = fixture.directory.file("other");
    for (const std::uint64_t features : {std::uint64_t{0}, fixture.device->features() | 2})
        CHECK_FALSE(dev::VsockDevice::create(config, dev::HostEnd::open(config).value(), *place.engine,
                                             dev::State{.features = features}));
}
