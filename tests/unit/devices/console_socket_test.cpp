#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <thread>

#include "tests/unit/devices/console_fixture.h"

using namespace hako;
using console::Mode;

namespace {

struct SocketConsole {
    explicit SocketConsole(bool with_file = false,
                           std::chrono::milliseconds patience = std::chrono::milliseconds(1))
        : console(io, *engine,
                  {.mode = with_file ? Mode::kFile : Mode::kSocket,
                   .path = with_file ? directory.file("log") : "",
                   .socket = directory.file("socket"),
                   .patience = patience}) {
        console.start(port);
    }
    [[nodiscard]] Fd connect() const { return test::connect_to(directory.file("socket")); }
    [[nodiscard]] bool attached() const {
        return engine->run_sync([&] { return console.backend->attached(); });
    }
    void wait_attached(bool wanted) {
        CHECK(test::run_until(io, [&] { return attached() == wanted; }));
    }
    std::string read(const Fd& fd, std::size_t size) {
        std::string got;
        CHECK(test::run_until(io, [&] {
            got += test::read_now(fd.get());
            return got.size() >= size;
        }));
        return got;
    }
    [[nodiscard]] std::string log() const {
        std::ifstream file(directory.file("log"), std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    [[nodiscard]] console::Metrics metrics() const { return console.backend->metrics(); }

    test::ScratchDirectory directory;
    boost::asio::io_context io;
    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    test::FakePort port;
    test::SerialConsole console;
};

}  // namespace

TEST_CASE("a client of the socket sees what came before it and what comes, and what it sends arrives") {
    SocketConsole socket;
    struct stat info{};
    REQUIRE(::stat(socket.directory.file("socket").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK_FALSE(socket.attached());
    CHECK(test::put(*socket.console.link, "before "));
    CHECK(test::run_until(socket.io, [&] { return socket.metrics().output == 7; }));
    const Fd client = socket.connect();
    CHECK(socket.read(client, 7) == "before ");
    CHECK(socket.attached());
    CHECK(test::put(*socket.console.link, std::string_view("\0after\x01x", 8)));
    CHECK(socket.read(client, 8) == std::string_view("\0after\x01x", 8));
    REQUIRE(::send(client.get(), "in\x01x\0", 5, 0) == 5);
    CHECK(test::run_until(socket.io, [&] { return socket.port.text().size() == 5; }));
    CHECK(socket.port.text() == std::string_view("in\x01x\0", 5));
    CHECK(socket.metrics().dropped == 0);
}

TEST_CASE("one client at a time: others are turned away, and when it has gone another may come") {
    SocketConsole socket;
    for (const char* const text : {"first", "second", "third"}) {
        Fd client = socket.connect();
        socket.wait_attached(true);
        const Fd other = socket.connect();
        char byte = 0;
        CHECK(::recv(other.get(), &byte, 1, 0) == 0);  // closed
        CHECK(test::put(*socket.console.link, text));
        CHECK(socket.read(client, std::string_view(text).size()) == text);
        client.reset();
        socket.wait_attached(false);
    }
    CHECK(socket.metrics().clients == 3);
    CHECK(socket.metrics().refused == 3);
}

TEST_CASE("a device is told of clients that come and go") {
    const test::ScratchDirectory directory;
    boost::asio::io_context io;
    const auto engine = io::Engine::create().value();
    test::FakePort port;
    const console::Config config{.mode = Mode::kSocket, .path = {}, .socket = directory.file("s")};
    const auto backend = console::Backend::open(io, *engine, config).value();
    backend->start(port);
    for (int changes = 1; changes <= 4; changes += 2) {
        const Fd client = test::connect_to(config.socket);
        CHECK(test::run_until(io, [&] { return port.attached_changes() == changes; }));
        CHECK(::shutdown(client.get(), SHUT_RDWR) == 0);
        CHECK(test::run_until(io, [&] { return port.attached_changes() == changes + 1; }));
    }
}

TEST_CASE("without a client the guest is never held up and the newest output is kept") {
    SocketConsole socket;
    const std::string text = test::pattern(200'000);
    CHECK(test::put(*socket.console.link, text));
    CHECK(test::run_until(socket.io, [&] { return socket.metrics().output == text.size(); }));
    const Fd client = socket.connect();
    CHECK(socket.read(client, 65536) == text.substr(text.size() - 65536));
    CHECK(socket.metrics().dropped == text.size() - 65536);
}

TEST_CASE("a client that does not read loses the oldest output, and the guest goes on") {
    SocketConsole socket;
    const Fd client = socket.connect();
    socket.wait_attached(true);
    const std::string text = test::pattern(3'000'000);
    CHECK(test::put(*socket.console.link, text));
    std::string got;
    CHECK(test::run_until(socket.io, [&] {
        got += test::read_now(client.get());
        return got.ends_with(text.substr(text.size() - 1000));
    }));
    CHECK(socket.metrics().dropped == text.size() - got.size());
    CHECK(socket.metrics().dropped > 1'000'000);
}

TEST_CASE("a client that reads loses nothing") {
    SocketConsole socket(false, std::chrono::seconds(20));
    const Fd client = socket.connect();
    const std::string text = test::pattern(3'000'000);
    std::string got;
    std::thread guest([&] { (void)test::put(*socket.console.link, text); });
    std::array<char, 65536> buffer;
    while (got.size() < text.size()) {
        const ssize_t count = ::recv(client.get(), buffer.data(), buffer.size(), 0);
        if (count <= 0) break;
        got.append(buffer.data(), static_cast<std::size_t>(count));
    }
    guest.join();
    CHECK(got == text);
    CHECK(socket.metrics().dropped == 0);
}

TEST_CASE("what a client sent before it left arrives, and until then it counts as there") {
    SocketConsole socket;
    socket.port.set_room(0);
    {
        const Fd client = socket.connect();
        const std::string text = test::pattern(20'000);
        REQUIRE(::send(client.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
    }
    socket.wait_attached(true);
    socket.port.set_room(SIZE_MAX);
    socket.console.link->input_wanted();
    CHECK(test::run_until(socket.io, [&] { return socket.port.text().size() == 20'000; }));
    CHECK(socket.port.text() == test::pattern(20'000));
    socket.wait_attached(false);
}

TEST_CASE("a client that has left gives way to the next, whatever the guest has not taken") {
    SocketConsole socket;
    socket.port.set_room(0);
    {
        const Fd client = socket.connect();
        REQUIRE(::send(client.get(), "old", 3, 0) == 3);
        socket.wait_attached(true);
    }
    const Fd next = socket.connect();
    CHECK(test::put(*socket.console.link, "hello"));
    CHECK(socket.read(next, 5) == "hello");
}

TEST_CASE("a client that only reads stays until it leaves") {
    SocketConsole socket;
    Fd client = socket.connect();
    REQUIRE(::shutdown(client.get(), SHUT_WR) == 0);
    socket.wait_attached(true);
    CHECK(test::put(*socket.console.link, "still"));
    CHECK(socket.read(client, 5) == "still");
    CHECK(test::put(*socket.console.link, " here"));
    CHECK(socket.read(client, 5) == " here");
    client.reset();
    socket.wait_attached(false);
}

TEST_CASE("a file and a socket at the same time: the file has all, the socket what it keeps up with") {
    SocketConsole socket(true);
    CHECK(socket.attached());
    const std::string text = test::pattern(500'000);
    CHECK(test::put(*socket.console.link, text));
    CHECK(test::run_until(socket.io, [&] { return socket.log().size() == text.size(); }));
    CHECK(socket.log() == text);
    const Fd client = socket.connect();
    CHECK(socket.read(client, 65536) == text.substr(text.size() - 65536));
    CHECK(test::put(*socket.console.link, "both"));
    CHECK(socket.read(client, 4) == "both");
    REQUIRE(::send(client.get(), "in", 2, 0) == 2);
    CHECK(test::run_until(socket.io, [&] { return socket.port.text() == "in"; }));
    socket.console.stop();
    CHECK(socket.log() == text + "both");
    CHECK(socket.attached());
}

TEST_CASE("a socket that cannot be made is the user's error, and its file goes with the console") {
    SocketConsole socket;
    const std::string path = socket.directory.file("socket");
    boost::asio::io_context io;
    for (const std::string& wrong : {std::string(), socket.directory.file("no/socket"), path}) {
        const auto console =
            console::Backend::open(io, *socket.engine, {.mode = Mode::kSocket, .path = {}, .socket = wrong});
        REQUIRE_FALSE(console);
        CHECK(console.error().fault() == Fault::kInput);
        CHECK(console.error().text().find("console socket " + wrong) != std::string::npos);
    }
    socket.console.link.reset();
    socket.console.backend.reset();
    CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("what the guest says last reaches the client before the socket goes") {
    SocketConsole socket;
    const Fd client = socket.connect();
    socket.wait_attached(true);
    CHECK(test::put(*socket.console.link, test::pattern(50'000)));
    socket.console.stop();
    CHECK(test::read_now(client.get()) == test::pattern(50'000));
}
