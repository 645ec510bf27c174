#include <doctest/doctest.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <thread>

#include "tests/unit/devices/console_fixture.h"

using namespace hako;
using console::Backend;
using console::Mode;

namespace {

std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

struct Rig {
    console::Config to(const std::string& path) const {
        return {.mode = Mode::kFile, .path = path, .socket = {}};
    }

    boost::asio::io_context io;
    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
};

}  // namespace

TEST_CASE("output is appended to a file that others cannot read") {
    const test::ScratchDirectory directory;
    const std::string path = directory.file("log");
    Rig rig;
    for (const char* const text : {"first\r\n", "second\r\n"}) {
        test::FakePort port;
        test::SerialConsole console(rig.io, *rig.engine, rig.to(path));
        CHECK(console.path() == path);
        console.start(port);
        CHECK(port.writables() == 1);
        const std::string before = content(path);
        CHECK(test::put(*console.link, text));
        CHECK(test::run_until(rig.io, [&] { return content(path) == before + text; }));
    }
    CHECK(content(path) == "first\r\nsecond\r\n");
    struct stat info{};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
}

TEST_CASE("a file that takes nothing makes the guest wait, tells when there is room, and loses nothing") {
    // A named pipe that nobody empties stands for it.
    const test::ScratchDirectory directory;
    const std::string path = directory.file("pipe");
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    const Fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    Rig rig;
    test::FakePort port;
    test::SerialConsole console(rig.io, *rig.engine, rig.to(path));
    console.start(port);
    const std::string text = test::pattern(1 << 20);
    std::size_t sent = 0;
    // Until there is no room for a while: pipe, history and ring are full.
    while (sent < text.size() &&
           test::put(*console.link, text.substr(sent, 1), std::chrono::milliseconds(100)))
        ++sent;
    CHECK(sent >= console::kDefaultBuffer + console::SerialLink::kRing);
    CHECK(sent <= 2 * console::kDefaultBuffer + console::SerialLink::kRing + 4096);
    const int before = port.writables();
    std::string got;
    CHECK(test::run_until(rig.io, [&] {
        got += test::read_now(reader.get());
        return port.writables() > before && got.size() == sent;
    }));
    CHECK(got == text.substr(0, sent));
    CHECK(console.link->put('x'));
    console.stop();  // also writes what is left
    CHECK(test::read_now(reader.get()) == "x");
}

TEST_CASE("a guest on its own thread gets all its output into the file, in order") {
    struct Guest final : console::Port {
        std::size_t receive(std::span<const std::uint8_t>) override { return 0; }
        void writable() override {
            room.fetch_add(1);
            room.notify_all();
        }
        std::atomic<unsigned> room{0};
    };
    const test::ScratchDirectory directory;
    const std::string path = directory.file("log");
    Rig rig;
    Guest guest;
    test::SerialConsole console(rig.io, *rig.engine, rig.to(path));
    console.start(guest);
    const std::string text = test::pattern(1 << 20);
    std::thread writer([&] {
        for (const char c : text) {
            unsigned seen = guest.room.load();
            while (!console.link->put(static_cast<std::uint8_t>(c))) {
                guest.room.wait(seen);
                seen = guest.room.load();
            }
        }
    });
    writer.join();
    console.stop();
    CHECK(content(path) == text);
}

TEST_CASE("after a stop the next device goes on where the last one ended") {
    const test::ScratchDirectory directory;
    const std::string path = directory.file("log");
    Rig rig;
    test::FakePort next;
    test::SerialConsole console(rig.io, *rig.engine, rig.to(path));
    {
        test::FakePort port;
        console.start(port);
        CHECK(test::put(*console.link, "one "));
        console.stop();
        console.stop();
        CHECK(content(path) == "one ");
    }
    console.start(next);
    CHECK(test::put(*console.link, "two"));
    CHECK(test::run_until(rig.io, [&] { return content(path) == "one two"; }));
}

TEST_CASE("a path that cannot be written is the user's error") {
    const test::ScratchDirectory directory;
    const std::string pipe = directory.file("pipe");
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    Rig rig;
    for (const std::string& path : {std::string(), directory.file("no/log"), directory.file(""), pipe}) {
        const auto console = Backend::open(rig.io, *rig.engine, rig.to(path));
        REQUIRE_FALSE(console);
        CHECK(console.error().fault() == Fault::kInput);
        CHECK(console.error().text().find(path) != std::string::npos);
    }
}

TEST_CASE("a device that takes no bytes does not hold up the guest") {
    Rig rig;
    test::FakePort port;
    test::SerialConsole console(rig.io, *rig.engine, rig.to("/dev/full"));
    console.start(port);
    CHECK(test::put(*console.link, test::pattern(300'000)));
}

TEST_CASE("a named pipe whose reader is slow loses nothing") {
    const test::ScratchDirectory directory;
    const std::string path = directory.file("pipe");
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    const Fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    Rig rig;
    test::FakePort port;
    test::SerialConsole console(rig.io, *rig.engine, rig.to(path));
    console.start(port);
    const std::string text = test::pattern(600'000);
    std::string got;
    std::size_t sent = 0;
    CHECK(test::run_until(rig.io, [&] {
        while (sent < text.size() && console.link->put(static_cast<std::uint8_t>(text[sent])))
            ++sent;
        std::array<char, 30'000> buffer;
        const ssize_t count = ::read(reader.get(), buffer.data(), buffer.size());
        if (count > 0) got.append(buffer.data(), static_cast<std::size_t>(count));
        return got.size() == text.size();
    }));
    CHECK(got == text);
}

TEST_CASE("a named pipe whose reader is gone does not hold up the guest") {
    const test::ScratchDirectory directory;
    const std::string path = directory.file("pipe");
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    Fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    Rig rig;
    test::FakePort port;
    test::SerialConsole console(rig.io, *rig.engine, rig.to(path));
    console.start(port);
    reader.reset();
    CHECK(test::put(*console.link, test::pattern(300'000)));
}

TEST_CASE("a console that is off swallows everything") {
    Rig rig;
    test::FakePort port;
    test::SerialConsole console(rig.io, *rig.engine, {});
    console.start(port);
    CHECK(port.writables() == 1);
    CHECK(test::put(*console.link, test::pattern(100'000)));
    console.stop();
    CHECK(console.backend->metrics().output == 100'000);
}
