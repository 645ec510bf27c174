#include <doctest/doctest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#include <memory>
#include <thread>

#include "tests/unit/devices/console_fixture.h"

using namespace hako;
using console::Mode;

namespace {

struct PtyConsole {
    explicit PtyConsole(std::chrono::milliseconds patience = std::chrono::milliseconds(1))
        : console(io, *engine, config(patience)) {
        console.start(port);
    }
    static console::Config config(std::chrono::milliseconds patience) {
        console::Config config;
        config.mode = Mode::kPty;
        config.patience = patience;
        return config;
    }
    [[nodiscard]] Fd attach() const {
        Fd fd(::open(console.path().c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
        REQUIRE(fd.valid());
        return fd;
    }
    [[nodiscard]] bool attached() const {
        return engine->run_sync([&] { return console.backend->attached(); });
    }
    /// Returns once the console knows whether anybody is there.
    void wait_attached(bool wanted) {
        CHECK(test::run_until(io, [&] { return attached() == wanted; }));
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
    std::unique_ptr<io::Engine> engine = io::Engine::create().value();
    test::FakePort port;
    test::SerialConsole console;
};

}  // namespace

TEST_CASE("who attaches to the pty sees the output byte by byte, and what he types arrives") {
    PtyConsole pty;
    CHECK(pty.console.path().starts_with("/dev/pts/"));
    struct stat info{};
    REQUIRE(::stat(pty.console.path().c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);

    const Fd reader = pty.attach();
    CHECK(test::put(*pty.console.link, "login:\n\r\t\x03 \xff"));
    CHECK(pty.read(reader, 11) == "login:\n\r\t\x03 \xff");
    REQUIRE(::write(reader.get(), "root\r\x03\x01x", 8) == 8);
    CHECK(test::run_until(pty.io, [&] { return pty.port.text().size() == 8; }));
    CHECK(pty.port.text() == "root\r\x03\x01x");
}

TEST_CASE("without a reader the guest is never held up and the newest output is kept") {
    PtyConsole pty;
    const std::string text = test::pattern(200'000);
    CHECK(test::put(*pty.console.link, text));
    CHECK(test::run_until(pty.io, [&] { return pty.console.backend->metrics().output == text.size(); }));
    const Fd reader = pty.attach();
    CHECK(pty.read(reader, 65536) == text.substr(text.size() - 65536));
    CHECK(pty.console.backend->metrics().dropped == text.size() - 65536);
}

TEST_CASE("a reader may leave and another come") {
    PtyConsole pty;
    for (const char* const text : {"first", "second", "third"}) {
        pty.wait_attached(false);
        const Fd reader = pty.attach();
        CHECK(test::put(*pty.console.link, text));
        const std::string seen = pty.read(reader, std::string_view(text).size());
        CHECK(seen == text);
        pty.port.forget_text();
        REQUIRE(::write(reader.get(), text, seen.size()) == static_cast<ssize_t>(seen.size()));
        CHECK(test::run_until(pty.io, [&] { return pty.port.text() == text; }));
    }
    CHECK(pty.console.backend->metrics().clients == 3);
}

TEST_CASE("a reader that leaves while the guest takes no input is missed, and what comes then is kept") {
    PtyConsole pty;
    pty.port.set_room(0);
    {
        const Fd reader = pty.attach();
        REQUIRE(::write(reader.get(), "typed", 5) == 5);
        pty.wait_attached(true);
    }
    pty.wait_attached(false);
    CHECK(test::put(*pty.console.link, "for the next"));
    const Fd reader = pty.attach();
    CHECK(pty.read(reader, 12) == "for the next");
    pty.port.set_room(SIZE_MAX);
    pty.console.link->input_wanted();
    CHECK(test::run_until(pty.io, [&] { return pty.port.text() == "typed"; }));
}

TEST_CASE("a reader is seen even if the guest is silent and he types nothing") {
    PtyConsole pty;
    CHECK(test::put(*pty.console.link, "backlog"));
    CHECK(test::run_until(pty.io, [&] { return pty.console.backend->metrics().output == 7; }));
    const Fd reader = pty.attach();
    CHECK(pty.read(reader, 7) == "backlog");
}

TEST_CASE("a reader that lags does not hold up the guest") {
    PtyConsole pty;
    const Fd reader = pty.attach();
    pty.wait_attached(true);
    const std::string text = test::pattern(1'000'000);
    CHECK(test::put(*pty.console.link, text));
    std::string got;
    CHECK(test::run_until(pty.io, [&] {
        got += test::read_now(reader.get());
        return got.ends_with(text.substr(text.size() - 1000));
    }));
    CHECK(got.size() < text.size());
    CHECK(pty.console.backend->metrics().dropped == text.size() - got.size());
}

TEST_CASE("a reader that keeps up loses nothing") {
    PtyConsole pty(std::chrono::seconds(20));
    const Fd reader = pty.attach();
    const std::string text = test::pattern(1'000'000);
    std::string got;
    std::thread guest([&] { (void)test::put(*pty.console.link, text); });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    pollfd poll_fd{.fd = reader.get(), .events = POLLIN, .revents = 0};
    while (got.size() < text.size() && std::chrono::steady_clock::now() < deadline) {
        ::poll(&poll_fd, 1, 100);
        got += test::read_now(reader.get());
    }
    guest.join();
    CHECK(got == text);
}

TEST_CASE("stopping with a reader that reads nothing ends in time") {
    PtyConsole pty;
    const Fd reader = pty.attach();
    pty.wait_attached(true);
    CHECK(test::put(*pty.console.link, test::pattern(500'000)));
    const auto begin = std::chrono::steady_clock::now();
    pty.console.flush(std::chrono::milliseconds(50));
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
}

TEST_CASE("after a stop the pty serves the next device under the same path") {
    PtyConsole pty;
    test::FakePort next;
    const Fd reader = pty.attach();
    const std::string path = pty.console.path();
    pty.console.stop();
    pty.console.start(next);
    CHECK(pty.console.path() == path);
    REQUIRE(::write(reader.get(), "x", 1) == 1);
    CHECK(test::run_until(pty.io, [&] { return next.text() == "x"; }));
    CHECK(test::put(*pty.console.link, "y"));
    CHECK(pty.read(reader, 1) == "y");
    pty.console.stop();
}

TEST_CASE("the size of a pty is that of who attaches to it, and changes when he types") {
    PtyConsole pty;
    const Fd reader = pty.attach();
    winsize size{.ws_row = 50, .ws_col = 132, .ws_xpixel = 0, .ws_ypixel = 0};
    REQUIRE(::ioctl(reader.get(), TIOCSWINSZ, &size) == 0);
    REQUIRE(::write(reader.get(), "x", 1) == 1);
    CHECK(test::run_until(pty.io, [&] {
        return pty.engine->run_sync([&] { return pty.console.backend->size(); }) ==
               console::Size{.columns = 132, .rows = 50};
    }));
}
