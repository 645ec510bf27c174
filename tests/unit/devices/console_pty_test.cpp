#include <doctest/doctest.h>
#include <sys/stat.h>

#include <memory>

#include "tests/unit/devices/console_fixture.h"

using namespace hako;
using console::Backend;
using console::Mode;

namespace {

struct PtyConsole {
    PtyConsole() {
        auto opened = Backend::open(io, {.mode = Mode::kPty, .path = {}});
        REQUIRE(opened);
        console = std::move(*opened);
        console->start(port);
    }
    [[nodiscard]] Fd attach() const {
        Fd fd(::open(console->path().c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
        REQUIRE(fd.valid());
        return fd;
    }
    /// Everything until `size` bytes have come.
    std::string read(const Fd& fd, std::size_t size) {
        std::string got;
        CHECK(test::run_until(io, [&] {
            got += test::read_now(fd.get());
            return got.size() >= size;
        }));
        return got;
    }

    boost::asio::io_context io;
    test::FakePort port;
    std::unique_ptr<Backend> console;
};

}  // namespace

TEST_CASE("who attaches to the pty sees the output byte by byte, and what he types arrives") {
    PtyConsole pty;
    CHECK(pty.console->path().starts_with("/dev/pts/"));
    struct stat info{};
    REQUIRE(::stat(pty.console->path().c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);

    const Fd reader = pty.attach();
    CHECK(test::put(*pty.console, "login:\n\r\t\x03 \xff"));
    CHECK(pty.read(reader, 11) == "login:\n\r\t\x03 \xff");
    REQUIRE(::write(reader.get(), "root\r\x03\x01x", 8) == 8);
    CHECK(test::run_until(pty.io, [&] { return pty.port.text.size() == 8; }));
    CHECK(pty.port.text == "root\r\x03\x01x");
}

TEST_CASE("without a reader the guest is never held up and the newest output is kept") {
    PtyConsole pty;
    const std::string text = test::pattern(200'000);
    CHECK(test::put(*pty.console, text));
    pty.io.run_for(std::chrono::milliseconds(5));
    const Fd reader = pty.attach();
    CHECK(pty.read(reader, 65536) == text.substr(text.size() - 65536));
}

TEST_CASE("a reader may leave and another come") {
    PtyConsole pty;
    for (const char* const text : {"first", "second", "third"}) {
        const Fd reader = pty.attach();
        CHECK(test::put(*pty.console, text));
        const std::string seen = pty.read(reader, std::string_view(text).size());
        CHECK(seen == text);
        pty.port.text.clear();
        REQUIRE(::write(reader.get(), text, seen.size()) == static_cast<ssize_t>(seen.size()));
        CHECK(test::run_until(pty.io, [&] { return pty.port.text == text; }));
    }
}

TEST_CASE("a reader is seen even if the guest is silent and he types nothing") {
    PtyConsole pty;
    CHECK(test::put(*pty.console, "backlog"));
    pty.io.run_for(std::chrono::milliseconds(5));
    const Fd reader = pty.attach();
    CHECK(pty.read(reader, 7) == "backlog");
}

TEST_CASE("a reader that lags does not hold up the guest") {
    PtyConsole pty;
    const Fd reader = pty.attach();
    const std::string text = test::pattern(1'000'000);
    for (std::size_t i = 0; i < text.size(); i += 10'000) {
        CHECK(test::put(*pty.console, std::string_view(text).substr(i, 10'000)));
        pty.io.poll();
    }
    std::string got;
    CHECK(test::run_until(pty.io, [&] {
        got += test::read_now(reader.get());
        return got.ends_with(text.substr(text.size() - 1000));
    }));
    CHECK(got.size() < text.size());
}

TEST_CASE("stopping with a reader that reads nothing ends in time") {
    PtyConsole pty;
    const Fd reader = pty.attach();
    CHECK(test::put(*pty.console, test::pattern(500'000)));
    const auto begin = std::chrono::steady_clock::now();
    pty.console->flush_now(std::chrono::milliseconds(50));
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
}

TEST_CASE("after a stop the pty serves the next device under the same path") {
    PtyConsole pty;
    const Fd reader = pty.attach();
    const std::string path = pty.console->path();
    pty.console->stop();
    test::FakePort next;
    pty.console->start(next);
    CHECK(pty.console->path() == path);
    REQUIRE(::write(reader.get(), "x", 1) == 1);
    CHECK(test::run_until(pty.io, [&] { return next.text == "x"; }));
    CHECK(test::put(*pty.console, "y"));
    CHECK(pty.read(reader, 1) == "y");
    pty.console->stop();
}
