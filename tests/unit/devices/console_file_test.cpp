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

}  // namespace

TEST_CASE("output is appended to a file that others cannot read") {
    const test::ScratchDirectory directory;
    const std::string path = directory.file("log");
    boost::asio::io_context io;
    for (const char* const text : {"first\r\n", "second\r\n"}) {
        auto console = Backend::open(io, {.mode = Mode::kFile, .path = path});
        REQUIRE(console);
        CHECK((*console)->path() == path);
        test::FakePort port;
        (*console)->start(port);
        CHECK(port.writables == 1);
        const std::string before = content(path);
        CHECK(test::put(**console, text));
        CHECK(test::run_until(io, [&] { return content(path) == before + text; }));
    }
    CHECK(content(path) == "first\r\nsecond\r\n");
    struct stat info{};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
}

TEST_CASE("a full buffer refuses, tells when there is room, and loses nothing") {
    const test::ScratchDirectory directory;
    const std::string path = directory.file("log");
    boost::asio::io_context io;
    auto console = Backend::open(io, {.mode = Mode::kFile, .path = path});
    REQUIRE(console);
    test::FakePort port;
    (*console)->start(port);
    const std::string text = test::pattern(65536);
    CHECK(test::put(**console, text));
    CHECK_FALSE((*console)->put('x'));
    CHECK(port.writables == 1);
    CHECK(test::run_until(io, [&] { return port.writables == 2; }));
    CHECK((*console)->put('x'));
    (*console)->stop();  // also writes what is left
    CHECK(content(path) == text + "x");
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
    boost::asio::io_context io;
    auto console = Backend::open(io, {.mode = Mode::kFile, .path = path});
    REQUIRE(console);
    Guest guest;
    (*console)->start(guest);
    const std::string text = test::pattern(1 << 20);
    std::atomic<bool> done{false};
    std::thread writer([&] {
        for (const char c : text) {
            unsigned seen = guest.room.load();
            while (!(*console)->put(static_cast<std::uint8_t>(c))) {
                guest.room.wait(seen);
                seen = guest.room.load();
            }
        }
        done = true;
    });
    CHECK(test::run_until(io, [&] { return done.load(); }));
    writer.join();
    (*console)->stop();
    CHECK(content(path) == text);
}

TEST_CASE("after a stop the next device goes on where the last one ended") {
    const test::ScratchDirectory directory;
    const std::string path = directory.file("log");
    boost::asio::io_context io;
    auto console = Backend::open(io, {.mode = Mode::kFile, .path = path});
    REQUIRE(console);
    {
        test::FakePort port;
        (*console)->start(port);
        CHECK(test::put(**console, "one "));
        (*console)->stop();
        (*console)->stop();
        CHECK(content(path) == "one ");
    }
    test::FakePort port;
    (*console)->start(port);
    CHECK(test::put(**console, "two"));
    CHECK(test::run_until(io, [&] { return content(path) == "one two"; }));
}

TEST_CASE("a path that cannot be written is the user's error") {
    const test::ScratchDirectory directory;
    const std::string pipe = directory.file("pipe");
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    boost::asio::io_context io;
    for (const std::string& path : {std::string(), directory.file("no/log"), directory.file(""), pipe}) {
        const auto console = Backend::open(io, {.mode = Mode::kFile, .path = path});
        REQUIRE_FALSE(console);
        CHECK(console.error().fault() == Fault::kInput);
        CHECK(console.error().text().find(path) != std::string::npos);
    }
}

TEST_CASE("a device that takes no bytes does not hold up the guest") {
    boost::asio::io_context io;
    auto console = Backend::open(io, {.mode = Mode::kFile, .path = "/dev/full"});
    REQUIRE(console);
    test::FakePort port;
    (*console)->start(port);
    (void)test::put(**console, test::pattern(70'000));
    CHECK(test::run_until(io, [&] { return port.writables == 2; }));
    CHECK(test::put(**console, test::pattern(70'000)));
}

TEST_CASE("a named pipe whose reader is slow loses nothing") {
    const test::ScratchDirectory directory;
    const std::string path = directory.file("pipe");
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    const Fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    boost::asio::io_context io;
    auto console = Backend::open(io, {.mode = Mode::kFile, .path = path});
    REQUIRE(console);
    test::FakePort port;
    (*console)->start(port);
    const std::string text = test::pattern(300'000);
    std::string got;
    std::size_t sent = 0;
    CHECK(test::run_until(io, [&] {
        while (sent < text.size() && (*console)->put(static_cast<std::uint8_t>(text[sent])))
            ++sent;
        if (sent == text.size() || port.writables < 2) got += test::read_now(reader.get());
        port.writables = 0;
        return got.size() == text.size();
    }));
    CHECK(got == text);
}

TEST_CASE("a console that is off swallows everything") {
    boost::asio::io_context io;
    auto console = Backend::open(io, {.mode = Mode::kOff, .path = {}});
    REQUIRE(console);
    test::FakePort port;
    (*console)->start(port);
    CHECK(port.writables == 1);
    CHECK(test::put(**console, test::pattern(100'000)));
    (*console)->stop();
}
