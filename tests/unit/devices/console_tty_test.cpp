#include <doctest/doctest.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include <cstdio>
#include <functional>

#include "devices/console/stdio.h"
#include "devices/console/terminal.h"
#include "tests/unit/devices/console_fixture.h"

using namespace hako;

namespace {

/// A terminal as a user has it: what a terminal emulator holds, and what hako gets.
struct Terminal {
    Terminal() : user(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
        std::array<char, 64> name{};
        REQUIRE(::grantpt(user.get()) == 0);
        REQUIRE(::unlockpt(user.get()) == 0);
        REQUIRE(::ptsname_r(user.get(), name.data(), name.size()) == 0);
        program = Fd(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
        REQUIRE(program.valid());
    }
    [[nodiscard]] bool raw() const {
        termios attributes{};
        return ::tcgetattr(program.get(), &attributes) == 0 &&
               (attributes.c_lflag & (ICANON | ECHO | ISIG)) == 0 && (attributes.c_oflag & OPOST) == 0;
    }
    [[nodiscard]] bool cooked() const {
        termios attributes{};
        return ::tcgetattr(program.get(), &attributes) == 0 &&
               (attributes.c_lflag & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG) &&
               (attributes.c_oflag & OPOST) != 0;
    }

    Fd user;
    Fd program;
};

/// Runs `body` in a process of its own that leads a session with this terminal; -signal or its exit status.
class Child {
  public:
    Child(const Terminal& terminal, const std::function<void()>& body) : pid_(fork_clean()) {
        if (pid_ != 0) return;
        ::setsid();
        ::ioctl(terminal.program.get(), TIOCSCTTY, 0);
        for (const int number : {SIGSEGV, SIGABRT, SIGBUS})
            ::signal(number, SIG_DFL);  // no report of doctest or a sanitizer
        body();
        ::_exit(0);
    }
    [[nodiscard]] pid_t pid() const { return pid_; }
    int wait(int options = 0) const {
        int status = 0;
        if (::waitpid(pid_, &status, options) != pid_) return INT_MIN;
        if (WIFSTOPPED(status)) return -WSTOPSIG(status);
        return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    }

  private:
    /// Without text in stdio's buffers, which the child's exit() would print again.
    static pid_t fork_clean() {
        std::fflush(nullptr);
        return ::fork();
    }
    pid_t pid_;
};

/// For what another process does; this one has nothing else to do meanwhile.
template <typename Condition>
bool wait_for(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        ::poll(nullptr, 0, 1);
    }
    return true;
}

}  // namespace

TEST_CASE("the terminal is raw from start to stop") {
    const Terminal terminal;
    boost::asio::io_context io;
    const auto engine = io::Engine::create().value();
    test::FakePort port;
    test::SerialConsole tty(io, *engine, terminal.program.get(), terminal.program.get(), {});
    CHECK(terminal.cooked());
    tty.start(port);
    CHECK(terminal.raw());
    tty.stop();
    CHECK(terminal.cooked());
    tty.start(port);
    CHECK(terminal.raw());
    console::restore_terminal();
    CHECK(terminal.cooked());
    console::restore_terminal();
    CHECK(terminal.cooked());
}

TEST_CASE("the destructor gives the terminal back") {
    const Terminal terminal;
    boost::asio::io_context io;
    const auto engine = io::Engine::create().value();
    test::FakePort port;
    {
        test::SerialConsole tty(io, *engine, terminal.program.get(), terminal.program.get(), {});
        tty.start(port);
        CHECK(terminal.raw());
    }
    CHECK(terminal.cooked());
    io.run_for(std::chrono::milliseconds(1));  // handlers left over find nothing to do
}

TEST_CASE("keys reach the guest as typed, output reaches the terminal unchanged, Ctrl-A x quits") {
    const Terminal terminal;
    boost::asio::io_context io;
    const auto engine = io::Engine::create().value();
    test::FakePort port;
    bool quit = false;
    test::SerialConsole tty(io, *engine, terminal.program.get(), terminal.program.get(),
                            [&] { quit = true; });
    tty.start(port);
    REQUIRE(::write(terminal.user.get(), "ls\r\x03\x1a\x1c\x11", 7) == 7);
    CHECK(test::run_until(io, [&] { return port.text().size() == 7; }));
    CHECK(port.text() == "ls\r\x03\x1a\x1c\x11");

    CHECK(test::put(*tty.link, "\x1b[1mhako\n\x07"));
    std::string seen;
    CHECK(test::run_until(io, [&] { return (seen += test::read_now(terminal.user.get())).size() >= 10; }));
    CHECK(seen == "\x1b[1mhako\n\x07");

    CHECK_FALSE(quit);
    REQUIRE(::write(terminal.user.get(), "\x01", 1) == 1);
    io.run_for(std::chrono::milliseconds(1));
    REQUIRE(::write(terminal.user.get(), "x", 1) == 1);
    CHECK(test::run_until(io, [&] { return quit; }));
    CHECK(port.text().size() == 7);
}

TEST_CASE("Ctrl-A x is heard even if the guest reads nothing") {
    const Terminal terminal;
    boost::asio::io_context io;
    const auto engine = io::Engine::create().value();
    test::FakePort port;
    port.set_room(0);
    bool quit = false;
    test::SerialConsole tty(io, *engine, terminal.program.get(), terminal.program.get(),
                            [&] { quit = true; });
    tty.start(port);
    for (int i = 0; i < 100; ++i) {
        REQUIRE(::write(terminal.user.get(), test::pattern(100).data(), 1) == 1);
        io.poll();
    }
    REQUIRE(::write(terminal.user.get(), "\x01x", 2) == 2);
    CHECK(test::run_until(io, [&] { return quit; }));
}

TEST_CASE("a pipe on standard input waits for the guest, loses nothing, and just ends") {
    test::Pipe in;
    test::Pipe out;
    boost::asio::io_context io;
    const auto engine = io::Engine::create().value();
    test::FakePort port;
    port.set_room(16);
    test::SerialConsole tty(io, *engine, in.reader.get(), out.writer.get(),
                            [] { FAIL("a pipe has no escape"); });
    tty.start(port);
    const std::string text = "\x01x" + test::pattern(30'000);
    REQUIRE(::write(in.writer.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    in.writer.reset();
    CHECK(test::run_until(io, [&] { return port.text().size() == 16; }));
    io.poll();
    pollfd rest{.fd = in.reader.get(), .events = POLLIN, .revents = 0};
    CHECK(::poll(&rest, 1, 0) == 1);
    CHECK((rest.revents & POLLIN) != 0);  // not read ahead of the guest
    CHECK(test::run_until(io, [&] {
        port.set_room(512);
        tty.link->input_wanted();
        return port.text().size() == text.size();
    }));
    CHECK(port.text() == text);
    CHECK(test::put(*tty.link, "still here"));
    std::string seen;
    CHECK(test::run_until(io, [&] { return (seen += test::read_now(out.reader.get())).size() >= 10; }));

    // The pipes belong to others, too: their flags are not ours to change.
    CHECK((::fcntl(in.reader.get(), F_GETFL) & O_NONBLOCK) == 0);
    CHECK((::fcntl(out.writer.get(), F_GETFL) & O_NONBLOCK) == 0);
}

TEST_CASE("input from a file comes whole; /dev/null and a closed descriptor give none") {
    const test::ScratchDirectory directory;
    const Fd file(::open(directory.file("in").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const std::string text = test::pattern(10'000);
    REQUIRE(::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    REQUIRE(::lseek(file.get(), 0, SEEK_SET) == 0);
    boost::asio::io_context io;
    const auto engine = io::Engine::create().value();
    {
        test::FakePort port;
        test::SerialConsole tty(io, *engine, file.get(), null.get(), {});
        tty.start(port);
        CHECK(test::run_until(io, [&] { return port.text() == text; }));
        CHECK(test::put(*tty.link, test::pattern(1000)));
    }
    for (const int fd : {null.get(), -1}) {
        test::FakePort port;
        test::SerialConsole tty(io, *engine, fd, fd, {});
        tty.start(port);
        io.run_for(std::chrono::milliseconds(2));
        CHECK(port.text().empty());
        CHECK(test::put(*tty.link, test::pattern(1000)));
    }
}

TEST_CASE("a reader that goes away ends the output, not the VM") {
    console::ignore_write_signals();
    test::Pipe in;
    test::Pipe out;
    boost::asio::io_context io;
    const auto engine = io::Engine::create().value();
    test::FakePort port;
    test::SerialConsole tty(io, *engine, in.reader.get(), out.writer.get(), {});
    tty.start(port);
    out.reader.reset();
    CHECK(test::put(*tty.link, test::pattern(300'000)));
    REQUIRE(::write(in.writer.get(), "x", 1) == 1);
    CHECK(test::run_until(io, [&] { return port.text() == "x"; }));
}

TEST_CASE("output to a reader that is slow comes out whole, the last of it at the stop") {
    test::Pipe in;
    test::Pipe out;
    boost::asio::io_context io;
    const auto engine = io::Engine::create().value();
    test::FakePort port;
    test::SerialConsole tty(io, *engine, in.reader.get(), out.writer.get(), {});
    tty.start(port);
    const std::string text = test::pattern(600'000);
    std::string got;
    std::size_t sent = 0;
    CHECK(test::run_until(io, [&] {
        while (sent < text.size() && tty.link->put(static_cast<std::uint8_t>(text[sent])))
            ++sent;
        if (sent < text.size()) got += test::read_now(out.reader.get());
        return sent == text.size();
    }));
    got += test::read_now(out.reader.get());
    tty.flush(std::chrono::milliseconds(10));
    while (got.size() < text.size()) {
        const std::size_t before = got.size();
        tty.stop();
        got += test::read_now(out.reader.get());
        if (got.size() == before) break;
    }
    CHECK(got.size() == text.size());
    CHECK(got == text);
}

TEST_CASE("the size of the terminal is known from the start, and when it changes") {
    const Terminal terminal;
    winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
    REQUIRE(::ioctl(terminal.user.get(), TIOCSWINSZ, &size) == 0);
    boost::asio::io_context io;
    const auto engine = io::Engine::create().value();
    test::FakePort port;
    test::SerialConsole tty(io, *engine, terminal.program.get(), terminal.program.get(), {});
    const auto known = [&] { return engine->run_sync([&] { return tty.backend->size(); }); };
    CHECK(known() == console::Size{.columns = 80, .rows = 24});
    tty.start(port);
    size.ws_col = 132;
    REQUIRE(::ioctl(terminal.user.get(), TIOCSWINSZ, &size) == 0);
    ::raise(SIGWINCH);  // it is not this process's controlling terminal
    CHECK(test::run_until(io, [&] { return known() == console::Size{.columns = 132, .rows = 24}; }));
}

TEST_CASE("the terminal is given back when the process exits or crashes") {
    for (const auto& [body, status] : {std::pair<std::function<void()>, int>{[] { std::exit(3); }, 3},
                                       {[] { std::abort(); }, -SIGABRT},
                                       {[] { ::raise(SIGSEGV); }, -SIGSEGV},
                                       {[] { ::kill(::getpid(), SIGBUS); }, -SIGBUS}}) {
        const Terminal terminal;
        const auto& end = body;
        const Child child(terminal, [&] {
            if (!console::enter_raw_mode(terminal.program.get()) || !terminal.raw()) ::_exit(99);
            end();
        });
        CHECK(child.wait() == status);
        CHECK(terminal.cooked());
    }
}

TEST_CASE("a stopped process leaves the terminal to the shell, and takes it again when it goes on") {
    const Terminal terminal;
    const Child child(terminal, [&] {
        boost::asio::io_context io;
        const auto engine = io::Engine::create().value();
        test::FakePort port;
        test::SerialConsole tty(io, *engine, terminal.program.get(), terminal.program.get(),
                                [&] { io.stop(); });
        tty.start(port);
        io.run();
    });
    REQUIRE(wait_for([&] { return terminal.raw(); }));
    ::kill(child.pid(), SIGTSTP);
    CHECK(child.wait(WUNTRACED) == -SIGSTOP);
    CHECK(terminal.cooked());
    ::kill(child.pid(), SIGCONT);
    CHECK(wait_for([&] { return terminal.raw(); }));
    REQUIRE(::write(terminal.user.get(), "\x01x", 2) == 2);
    CHECK(child.wait() == 0);
    CHECK(terminal.cooked());
}

TEST_CASE("a background job leaves the terminal alone and is not stopped by it") {
    const Terminal terminal;
    const Child child(terminal, [&] {
        const pid_t job = ::fork();
        if (job == 0) {
            ::setpgid(0, 0);
            if (console::in_foreground(terminal.program.get())) ::_exit(1);
            boost::asio::io_context io;
            const auto engine = io::Engine::create().value();
            test::FakePort port;
            test::SerialConsole tty(io, *engine, terminal.program.get(), terminal.program.get(),
                                    [&] { io.stop(); });
            tty.start(port);
            if (!terminal.cooked()) ::_exit(2);
            if (!test::put(*tty.link, "out")) ::_exit(3);
            io.run();  // until it is in the foreground and told to quit
            if (!terminal.raw()) ::_exit(4);
            ::_exit(0);
        }
        ::setpgid(job, job);
        std::string seen;
        if (!wait_for([&] { return (seen += test::read_now(terminal.user.get())) == "out"; })) ::_exit(5);
        ::tcsetpgrp(terminal.program.get(), job);
        ::signal(SIGTTOU, SIG_IGN);
        if (!wait_for([&] { return terminal.raw(); })) ::_exit(6);
        if (::write(terminal.user.get(), "\x01x", 2) != 2) ::_exit(7);
        int status = 0;
        ::waitpid(job, &status, WUNTRACED);
        ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 8);
    });
    CHECK(child.wait() == 0);
}

TEST_CASE("a process that has lost the foreground still gives the terminal back, without being stopped") {
    const Terminal terminal;
    const Child child(terminal, [&] {
        const pid_t job = ::fork();
        if (job == 0) {
            // In the session leader's group until now, so in the foreground.
            if (!console::enter_raw_mode(terminal.program.get())) ::_exit(1);
            ::setpgid(0, 0);
            if (console::in_foreground(terminal.program.get())) ::_exit(2);
            console::restore_terminal();
            ::_exit(0);
        }
        int status = 0;
        ::waitpid(job, &status, WUNTRACED);
        ::kill(job, SIGKILL);
        ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 8);
    });
    CHECK(child.wait() == 0);
    CHECK(terminal.cooked());
}

TEST_CASE("a standard descriptor that is closed is taken by /dev/null") {
    const Terminal terminal;
    const Child child(terminal, [&] {
        ::close(0);
        ::close(2);
        console::claim_standard_fds();
        const Fd next(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        ::_exit(next.get() > 2 ? 0 : 1);
    });
    CHECK(child.wait() == 0);
}
