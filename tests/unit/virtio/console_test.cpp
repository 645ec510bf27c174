#include <doctest/doctest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#include "tests/unit/virtio/console_fixture.h"

using namespace hako;
using console::Mode;
using test::ConsoleFixture;
using Told = ConsoleFixture::Told;

namespace {

namespace dev = virtio::console;
using dev::Event;

struct Places {
    [[nodiscard]] console::Config file(const std::string& name) const {
        return {.mode = Mode::kFile, .path = directory.file(name), .socket = {}};
    }
    [[nodiscard]] console::Config socket(const std::string& name) const {
        return {.mode = Mode::kSocket, .path = {}, .socket = directory.file(name)};
    }
    [[nodiscard]] std::string content(const std::string& name) const {
        std::ifstream file(directory.file(name), std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    [[nodiscard]] Fd connect(const std::string& name) const { return test::connect_to(directory.file(name)); }

    test::ScratchDirectory directory;
    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
};

std::string read(ConsoleFixture& fixture, const Fd& fd, std::size_t size) {
    std::string got;
    CHECK(fixture.until([&] {
        got += test::read_now(fd.get());
        return got.size() >= size;
    }));
    return got;
}

void send(const Fd& fd, std::string_view text) {
    REQUIRE(::send(fd.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
}

}  // namespace

TEST_CASE("a console without MULTIPORT works at once, both ways") {
    Places places;
    ConsoleFixture fixture(*places.engine, {places.socket("s")});
    fixture.activate(dev::feature::kMultiport);
    const Fd client = places.connect("s");
    fixture.output(0, "login: ");
    CHECK(read(fixture, client, 7) == "login: ");
    send(client, "root\r");
    fixture.offer_input(0, 64);
    CHECK(fixture.input(0) == "root\r");
    CHECK(fixture.device->metrics(0).bytes == 5);
    CHECK(fixture.device->metrics(1).bytes == 7);
}

TEST_CASE("a driver is told of each port, its name and whether the host listens") {
    Places places;
    ConsoleFixture fixture(*places.engine, {places.file("log"), places.socket("agent"), places.file("out")});
    CHECK(fixture.config_space().max_ports == 3);
    fixture.activate();
    CHECK_FALSE(fixture.told(std::chrono::milliseconds(20)));  // nothing before it is ready
    fixture.control(0xffffffff, Event::kDeviceReady, 1);
    for (std::uint32_t port = 0; port < 3; ++port)
        CHECK(fixture.told() == Told{.event = Event::kPortAdd, .port = port});
    // A second one adds nothing: no port may be added twice.
    fixture.control(0xffffffff, Event::kDeviceReady, 1);
    fixture.control(0, Event::kPortReady, 1);
    CHECK(fixture.told() == Told{.event = Event::kConsolePort, .port = 0, .value = 1});
    CHECK(fixture.told() == Told{.event = Event::kPortOpen, .port = 0, .value = 1});
    fixture.control(1, Event::kPortReady, 1);
    CHECK(fixture.told() == Told{.event = Event::kPortName, .port = 1, .value = 1, .rest = "port.1"});
    CHECK(fixture.told() == Told{.event = Event::kPortOpen, .port = 1, .value = 0});
    fixture.control(2, Event::kPortReady, 1);
    CHECK(fixture.told() == Told{.event = Event::kPortName, .port = 2, .value = 1, .rest = "port.2"});
    CHECK(fixture.told() == Told{.event = Event::kPortOpen, .port = 2, .value = 1});
    CHECK_FALSE(fixture.told(std::chrono::milliseconds(20)));
}

TEST_CASE("without a console named ports keep their numbers") {
    Places places;
    ConsoleFixture fixture(*places.engine, {{}, places.file("out")});
    CHECK((fixture.device->features() & dev::feature::kEmergencyWrite) == 0);
    fixture.activate();
    fixture.set_up();
    fixture.output(1, "named");
    fixture.output(0, "nobody");  // swallowed
    CHECK(fixture.until([&] { return places.content("out") == "named"; }));
}

TEST_CASE("the host's end of a named port is open while a client is there") {
    Places places;
    ConsoleFixture fixture(*places.engine, {{}, places.socket("agent")});
    fixture.activate();
    fixture.set_up();
    {
        const Fd client = places.connect("agent");
        CHECK(fixture.told() == Told{.event = Event::kPortOpen, .port = 1, .value = 1});
        fixture.output(1, "hello");
        CHECK(read(fixture, client, 5) == "hello");
    }
    CHECK(fixture.told() == Told{.event = Event::kPortOpen, .port = 1, .value = 0});
    const Fd client = places.connect("agent");
    CHECK(fixture.told() == Told{.event = Event::kPortOpen, .port = 1, .value = 1});
}

TEST_CASE("of a client that comes and goes while the driver has no buffer it hears how things stand") {
    Places places;
    ConsoleFixture fixture(*places.engine, {{}, places.socket("agent")});
    fixture.activate();
    fixture.set_up();
    for (int i = 0; i < 5; ++i) {
        {
            const Fd client = places.connect("agent");
        }
        CHECK(fixture.until([&] {
            return fixture.backends[1]->metrics().clients == static_cast<unsigned>(i) + 1 &&
                   !places.engine->run_sync([&] { return fixture.backends[1]->attached(); });
        }));
    }
    CHECK(fixture.told() == Told{.event = Event::kPortOpen, .port = 1, .value = 0});
    CHECK_FALSE(fixture.told(std::chrono::milliseconds(20)));
}

TEST_CASE("input waits at the host until somebody in the guest has the port open") {
    Places places;
    ConsoleFixture fixture(*places.engine, {{}, places.socket("agent")});
    fixture.activate();
    fixture.set_up();
    const Fd client = places.connect("agent");
    CHECK(fixture.told() == Told{.event = Event::kPortOpen, .port = 1, .value = 1});
    fixture.offer_input(1, 64);
    send(client, "ping");
    fixture.engine_round();
    CHECK_FALSE(fixture.drivers[dev::receive_queue(1)].take_used());
    fixture.control(1, Event::kPortOpen, 1);
    CHECK(fixture.input(1) == "ping");
    fixture.control(1, Event::kPortOpen, 0);
    fixture.offer_input(1, 64);
    send(client, "again");
    fixture.engine_round();
    CHECK_FALSE(fixture.drivers[dev::receive_queue(1)].take_used());
    fixture.control(1, Event::kPortOpen, 1);
    CHECK(fixture.input(1) == "again");
}

TEST_CASE("input waits for buffers and is cut into them") {
    Places places;
    ConsoleFixture fixture(*places.engine, {places.socket("s")});
    fixture.activate(dev::feature::kMultiport);
    const Fd client = places.connect("s");
    const std::string text = test::pattern(100'000);
    send(client, text);
    std::string got;
    while (got.size() < text.size()) {
        fixture.offer_input(0, 1000);
        const std::string part = fixture.input(0);
        REQUIRE(part.size() <= 1000);
        got += part;
    }
    CHECK(got == text);
}

TEST_CASE("output of any length goes through, in order") {
    Places places;
    ConsoleFixture fixture(*places.engine, {places.file("log")});
    fixture.activate(dev::feature::kMultiport);
    const std::string text = test::pattern(1'000'000);
    fixture.output(0, text);  // one chain, many times the history
    fixture.output(0, "x");
    CHECK(fixture.until([&] { return places.content("log").size() == text.size() + 1; }));
    CHECK(places.content("log") == text + "x");
}

TEST_CASE("a file that takes nothing leaves the chains in the queue, and nothing is lost") {
    Places places;
    const std::string path = places.directory.file("pipe");
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    const Fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    ConsoleFixture fixture(*places.engine, {places.file("pipe")});
    fixture.activate(dev::feature::kMultiport);
    const std::string text = test::pattern(400'000);
    fixture.offer_output(0, text.substr(0, 300'000));
    fixture.offer_output(0, text.substr(300'000), test::kOutput + 512 * KiB);
    CHECK(fixture.until([&] { return fixture.device->metrics(1).waits > 0; }));
    fixture.engine_round();
    CHECK_FALSE(fixture.drivers[1].take_used());
    CHECK(fixture.backends[0]->metrics().output < 300'000);

    // Neither a pause nor a reset waits for it.
    fixture.device->pause();
    CHECK(fixture.device->queue_positions()[1] == virtio::QueuePosition{.next_avail = 0, .next_used = 0});
    CHECK(fixture.device->state().ports[0].tx_taken == fixture.backends[0]->metrics().output);
    fixture.device->resume();
    std::string got;
    CHECK(fixture.until([&] {
        got += test::read_now(reader.get());
        return got.size() == text.size();
    }));
    CHECK(got == text);
    REQUIRE(fixture.await(1));
    REQUIRE(fixture.await(1));
    CHECK(fixture.device->state().ports[0].tx_taken == 0);
    CHECK(fixture.backends[0]->metrics().dropped == 0);
}

TEST_CASE("a reset in the middle of a chain begins anew") {
    Places places;
    const std::string path = places.directory.file("pipe");
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    const Fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    ConsoleFixture fixture(*places.engine, {places.file("pipe")});
    fixture.activate(dev::feature::kMultiport);
    fixture.offer_output(0, test::pattern(300'000));
    CHECK(fixture.until([&] { return fixture.device->metrics(1).waits > 0; }));
    fixture.device->reset();
    const auto taken = fixture.backends[0]->metrics().output;
    CHECK(fixture.device->queue_positions().empty());
    fixture.make_drivers();
    fixture.activate(dev::feature::kMultiport);
    fixture.offer_output(0, "fresh");
    std::string got;
    CHECK(fixture.until([&] {
        got += test::read_now(reader.get());
        return got.size() == taken + 5;
    }));
    CHECK(got == test::pattern(300'000).substr(0, taken) + "fresh");
}

TEST_CASE("a client that does not read holds nobody up") {
    Places places;
    auto host = places.socket("s");
    host.patience = std::chrono::milliseconds(1);
    ConsoleFixture fixture(*places.engine, {host});
    fixture.activate(dev::feature::kMultiport);
    const Fd client = places.connect("s");
    CHECK(fixture.until([&] { return fixture.backends[0]->metrics().clients == 1; }));
    for (int i = 0; i < 5; ++i)
        fixture.output(0, test::pattern(1'000'000));
    CHECK(fixture.backends[0]->metrics().dropped > 1'000'000);
}

TEST_CASE("a paused console takes nothing and gives nothing, and goes on where it stood") {
    Places places;
    ConsoleFixture fixture(*places.engine, {places.socket("s")});
    fixture.activate(dev::feature::kMultiport);
    const Fd client = places.connect("s");
    fixture.device->pause();
    fixture.offer_input(0, 64);
    fixture.offer_output(0, "out");
    send(client, "in");
    fixture.engine_round();
    CHECK_FALSE(fixture.drivers[0].take_used());
    CHECK_FALSE(fixture.drivers[1].take_used());
    fixture.device->resume();
    CHECK(fixture.input(0) == "in");
    CHECK(read(fixture, client, 3) == "out");
}

TEST_CASE("a restored console goes on where the saved one stood") {
    Places places;
    ConsoleFixture fixture(*places.engine, {places.file("log"), places.socket("agent")});
    fixture.activate();
    fixture.set_up();
    fixture.control(1, Event::kPortOpen, 1);
    fixture.output(0, "one ");
    fixture.device->pause();
    const auto positions = fixture.device->queue_positions();
    const dev::State state = fixture.device->state();
    CHECK(state.ports[0].guest_open);
    CHECK(state.ports[1].ready);
    CHECK(state.ports[1].guest_open);

    fixture.device.reset();
    fixture.device =
        dev::ConsoleDevice::create(fixture.config, {fixture.backends[0].get(), fixture.backends[1].get()},
                                   *places.engine, state)
            .value();
    CHECK(fixture.device->state() == state);
    fixture.activate(0, positions);
    fixture.output(0, "two");
    CHECK(fixture.until([&] { return places.content("log") == "one two"; }));
    // What may be otherwise here is told again.
    CHECK(fixture.told() == Told{.event = Event::kPortOpen, .port = 0, .value = 1});
    CHECK(fixture.told() == Told{.event = Event::kPortOpen, .port = 1, .value = 0});
    const Fd client = places.connect("agent");
    CHECK(fixture.told() == Told{.event = Event::kPortOpen, .port = 1, .value = 1});
    send(client, "ping");
    fixture.offer_input(1, 64);
    CHECK(fixture.input(1) == "ping");
}

TEST_CASE("a state that does not fit is refused") {
    Places places;
    boost::asio::io_context io;
    const auto backend = console::Backend::open(io, *places.engine, {}).value();
    dev::Config config;
    config.id = "c";
    const dev::State good{.features = virtio::feature::kVersion1, .ports = std::vector<dev::PortState>(1)};
    CHECK(dev::ConsoleDevice::create(config, {backend.get()}, *places.engine, good));
    dev::State bad = good;
    bad.ports.resize(2);
    CHECK_FALSE(dev::ConsoleDevice::create(config, {backend.get()}, *places.engine, bad));
    bad = good;
    bad.features |= 1U << 20;
    CHECK_FALSE(dev::ConsoleDevice::create(config, {backend.get()}, *places.engine, bad));
    bad.features = 0;
    CHECK_FALSE(dev::ConsoleDevice::create(config, {backend.get()}, *places.engine, bad));
    config.queue_size = 48;
    CHECK_FALSE(dev::ConsoleDevice::create(config, {backend.get()}, *places.engine));
    config.queue_size = 64;
    config.ports.resize(1);
    CHECK_FALSE(dev::ConsoleDevice::create(config, {backend.get(), nullptr}, *places.engine));
}

TEST_CASE("control messages that make no sense are passed over") {
    Places places;
    ConsoleFixture fixture(*places.engine, {places.file("log"), places.socket("agent")});
    fixture.activate();
    std::uint64_t errors = 0;
    const auto errors_now = [&] { return fixture.device->metrics(dev::kControlTransmit).errors; };
    // Of ports that were not added yet.
    fixture.control(0, Event::kPortReady, 1);
    fixture.control(1, Event::kPortOpen, 1);
    CHECK(errors_now() == (errors += 2));
    fixture.set_up();
    CHECK(errors_now() == errors);
    fixture.control(2, Event::kPortReady, 1);
    fixture.control(0xffffffff, Event::kPortOpen, 1);
    fixture.control(1, Event::kPortReady, 1);  // it is ready already
    fixture.control(1, Event::kPortOpen, 2);
    fixture.control(1, Event::kPortAdd, 1);
    fixture.control(1, static_cast<Event>(99), 1);
    CHECK(errors_now() == (errors += 6));
    fixture.raw_control(7);
    fixture.raw_control(9);
    fixture.raw_control(60'000);
    CHECK(errors_now() == (errors += 3));
    // A buffer that the device may write is for the other queue.
    REQUIRE(fixture.drivers[dev::kControlTransmit].add(std::array{test::Buffer{test::kControlOut, 8, true}}));
    fixture.kick(dev::kControlTransmit);
    REQUIRE(fixture.await(dev::kControlTransmit));
    CHECK(errors_now() == (errors += 1));
    CHECK_FALSE(fixture.told(std::chrono::milliseconds(20)));
    fixture.output(0, "all is well");
    CHECK(fixture.until([&] { return places.content("log") == "all is well"; }));
}

TEST_CASE("a port that the driver could not set up hears nothing") {
    Places places;
    ConsoleFixture fixture(*places.engine, {{}, places.socket("agent")});
    fixture.activate();
    fixture.control(0, Event::kDeviceReady, 0);
    fixture.control(0, Event::kDeviceReady, 1);
    REQUIRE(fixture.told());
    fixture.control(1, Event::kPortReady, 0);
    const Fd client = places.connect("agent");
    CHECK_FALSE(fixture.told(std::chrono::milliseconds(20)));
}

TEST_CASE("output that cannot be is given back, counted, and harms nobody") {
    Places places;
    ConsoleFixture fixture(*places.engine, {places.file("log")});
    fixture.activate(dev::feature::kMultiport);
    fixture.put(test::kOutput, "text");
    for (const auto& buffers :
         {std::vector{test::Buffer{test::kOutput, 4, true}},
          std::vector{test::Buffer{test::kOutput, 4, false}, test::Buffer{test::kInput, 4, true}}}) {
        REQUIRE(fixture.drivers[1].add(buffers));
        fixture.kick(1);
        const auto used = fixture.await(1);
        REQUIRE(used);
        CHECK(used->written == 0);
    }
    CHECK(fixture.device->metrics(1).errors == 2);
    fixture.output(0, "good");
    CHECK(fixture.until([&] { return places.content("log") == "good"; }));
}

TEST_CASE("a queue that breaks the rules stops the device until reset") {
    Places places;
    ConsoleFixture fixture(*places.engine, {places.socket("s")});
    const Fd client = places.connect("s");
    const auto broken = [&](std::size_t queue, auto offer, std::uint64_t without) {
        fixture.device->reset();
        fixture.make_drivers();
        fixture.activate(without);
        offer(fixture.drivers[queue]);
        fixture.drivers[queue].publish();
        fixture.transport.kicks[queue].signal();
        send(client, "x");
        CHECK(test::wait_for(fixture.transport.reset_wanted));
    };
    const auto wild_head = [](test::DriverQueue& driver) { driver.offer(9999); };
    const auto readable = [](test::DriverQueue& driver) {
        REQUIRE(driver.add(std::array{test::Buffer{test::kInput, 8, false}}));
    };
    broken(0, wild_head, dev::feature::kMultiport);
    broken(0, readable, dev::feature::kMultiport);
    CHECK(fixture.transport.reset_reason() == "a receive buffer is not for the device to write");
    broken(1, wild_head, dev::feature::kMultiport);
    broken(dev::kControlTransmit, wild_head, 0);

    // A control buffer is looked at when there is something to tell.
    fixture.device->reset();
    fixture.make_drivers();
    fixture.activate();
    REQUIRE(fixture.drivers[dev::kControlReceive].add(std::array{test::Buffer{test::kControlIn, 7, true}}));
    fixture.kick(dev::kControlReceive);
    fixture.control(0, Event::kDeviceReady, 1);
    CHECK(test::wait_for(fixture.transport.reset_wanted));

    fixture.device->reset();
    fixture.make_drivers();
    fixture.activate(dev::feature::kMultiport);
    fixture.output(0, "back");
    CHECK(read(fixture, client, 4) == "back");
}

TEST_CASE("a name that is longer than the driver's buffer comes cut") {
    Places places;
    ConsoleFixture fixture(*places.engine, {{}, places.file("out")});
    fixture.activate();
    fixture.control(0, Event::kDeviceReady, 1);
    REQUIRE(fixture.told());
    fixture.control(1, Event::kPortReady, 1);
    REQUIRE(fixture.drivers[dev::kControlReceive].add(
        std::array{test::Buffer{test::kControlIn, 8, true}, test::Buffer{test::kControlIn + 8, 3, true}}));
    fixture.kick(dev::kControlReceive);
    const auto used = fixture.await(dev::kControlReceive);
    REQUIRE(used);
    CHECK(used->written == 11);
    CHECK(fixture.get(test::kControlIn + 8, 3) == "por");
}

TEST_CASE("an emergency write is one character, at any time") {
    Places places;
    ConsoleFixture fixture(*places.engine, {places.file("log")});
    REQUIRE((fixture.device->features() & dev::feature::kEmergencyWrite) != 0);
    const auto write = [&](std::uint32_t offset, std::initializer_list<char> bytes) {
        std::vector<std::byte> data;
        for (const char c : bytes)
            data.push_back(static_cast<std::byte>(c));
        fixture.device->write_config(offset, data);
    };
    write(8, {'a', 'x', 'x', 'x'});
    write(8, {'b'});
    write(4, {'n', 'n', 'n', 'n'});
    write(9, {'n'});
    write(8, {});
    fixture.activate();
    write(8, {'c', 0, 0, 0});
    CHECK(fixture.until([&] { return places.content("log") == "abc"; }));
}

TEST_CASE("the size of a pty is in the configuration, or in a message") {
    Places places;
    const console::Config pty{.mode = Mode::kPty, .path = {}, .socket = {}};
    ConsoleFixture fixture(*places.engine, {pty, pty});
    REQUIRE((fixture.device->features() & dev::feature::kSize) != 0);
    const auto attach = [&](std::size_t port, unsigned short columns) {
        Fd fd(::open(fixture.backends[port]->path().c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
        winsize size{.ws_row = 40, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
        REQUIRE(::ioctl(fd.get(), TIOCSWINSZ, &size) == 0);
        REQUIRE(::write(fd.get(), "x", 1) == 1);
        return fd;
    };
    fixture.activate(dev::feature::kMultiport);
    const Fd first = attach(0, 120);
    CHECK(test::wait_for(fixture.transport.config_change));
    CHECK(fixture.until([&] { return fixture.config_space().columns == 120; }));
    CHECK(fixture.config_space().rows == 40);

    fixture.device->reset();
    fixture.make_drivers();
    (void)fixture.transport.config_change.take();
    fixture.activate();
    fixture.control(0, Event::kDeviceReady, 1);
    REQUIRE(fixture.told());
    REQUIRE(fixture.told());
    fixture.control(0, Event::kPortReady, 1);
    CHECK(fixture.told()->event == Event::kConsolePort);
    CHECK(fixture.told()->event == Event::kPortOpen);
    CHECK(fixture.told() == Told{.event = Event::kResize, .port = 0, .value = 0, .rest = {120, 0, 40, 0}});
    fixture.control(1, Event::kPortReady, 1);
    CHECK(fixture.told()->event == Event::kPortName);
    CHECK(fixture.told()->event == Event::kPortOpen);
    const Fd second = attach(1, 99);
    CHECK(fixture.told() == Told{.event = Event::kPortOpen, .port = 1, .value = 1});
    Told resized;
    CHECK(fixture.until([&] {
        // It may hear of the size the pty had when it was opened, too.
        if (const auto next = fixture.told(std::chrono::milliseconds(20))) resized = *next;
        return resized == Told{.event = Event::kResize, .port = 1, .value = 0, .rest = {99, 0, 40, 0}};
    }));
    CHECK_FALSE(fixture.transport.config_change.pending());
}
