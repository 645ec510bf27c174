// A guest's end for console backends, and waiting without sleeping.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "devices/console/backend.h"
#include "devices/console/serial_link.h"
#include "vmm/base/fd.h"

namespace hako::test {

/// Handles events until `condition` holds; false after 10 seconds. What happens on the io thread is looked at
/// every millisecond.
template <typename Condition>
bool run_until(boost::asio::io_context& io, Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        io.restart();
        io.run_one_for(std::chrono::milliseconds(1));
        ::poll(nullptr, 0, 1);
    }
    return true;
}

/// A UART that takes as much as the test says. Its methods are for any thread.
class FakePort final : public console::Port {
  public:
    std::size_t receive(std::span<const std::uint8_t> bytes) override {
        const std::scoped_lock lock(mutex_);
        const std::size_t taken = std::min(room_, bytes.size());
        text_.append(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
        room_ -= taken;
        return taken;
    }
    void writable() override {
        const std::scoped_lock lock(mutex_);
        ++writables_;
    }
    void attached_changed() override {
        const std::scoped_lock lock(mutex_);
        ++attached_changes_;
    }
    void resized() override {
        const std::scoped_lock lock(mutex_);
        ++resizes_;
    }

    void set_room(std::size_t room) {
        const std::scoped_lock lock(mutex_);
        room_ = room;
    }
    [[nodiscard]] std::string text() const {
        const std::scoped_lock lock(mutex_);
        return text_;
    }
    void forget_text() {
        const std::scoped_lock lock(mutex_);
        text_.clear();
    }
    [[nodiscard]] int writables() const { return number(writables_); }
    [[nodiscard]] int attached_changes() const { return number(attached_changes_); }
    [[nodiscard]] int resizes() const { return number(resizes_); }

  private:
    int number(const int& value) const {
        const std::scoped_lock lock(mutex_);
        return value;
    }

    mutable std::mutex mutex_;
    std::size_t room_ = SIZE_MAX;
    std::string text_;
    int writables_ = 0;
    int attached_changes_ = 0;
    int resizes_ = 0;
};

/// A console as a serial port has it.
struct SerialConsole {
    SerialConsole(boost::asio::io_context& io, io::Engine& engine, const console::Config& config)
        : SerialConsole(engine, console::Backend::open(io, engine, config)) {}
    /// On a terminal.
    SerialConsole(boost::asio::io_context& io, io::Engine& engine, int input, int output,
                  std::function<void()> on_quit)
        : SerialConsole(engine,
                        console::Backend::on_terminal(io, engine, input, output, std::move(on_quit))) {}

    void start(console::Port& port) { link->start(port); }
    void stop() { link->stop(); }
    /// Hands on and writes all there is, if the reader takes it in time.
    void flush(std::chrono::milliseconds limit) { backend->flush(limit); }
    [[nodiscard]] const std::string& path() const { return backend->path(); }

    std::unique_ptr<console::Backend> backend;
    std::unique_ptr<console::SerialLink> link;

  private:
    SerialConsole(io::Engine& engine, Result<std::unique_ptr<console::Backend>> opened) {
        REQUIRE(opened);
        backend = std::move(*opened);
        link = console::SerialLink::create(engine, *backend).value();
    }
};

/// Puts all of `text`, waiting for room as a UART does: the ring is emptied within moments, unless a file or
/// a terminal lags. False if there is none for a second.
inline bool put(console::Sink& sink, std::string_view text,
                std::chrono::milliseconds patience = std::chrono::milliseconds(1000)) {
    for (const char c : text) {
        const auto deadline = std::chrono::steady_clock::now() + patience;
        while (!sink.put(static_cast<std::uint8_t>(c))) {
            if (std::chrono::steady_clock::now() > deadline) return false;
            ::poll(nullptr, 0, 1);
        }
    }
    return true;
}

/// What can be read from `fd` now.
inline std::string read_now(int fd) {
    std::string text;
    std::array<char, 4096> buffer;
    pollfd poll_fd{.fd = fd, .events = POLLIN, .revents = 0};
    while (::poll(&poll_fd, 1, 0) == 1) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got <= 0) break;
        text.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return text;
}

/// A connection to the unix socket at `path`.
inline Fd connect_to(const std::string& path) {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    REQUIRE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    return fd;
}

struct Pipe {
    Pipe() {
        std::array<int, 2> fds{-1, -1};
        if (::pipe2(fds.data(), O_CLOEXEC) != 0) return;
        reader = Fd(fds[0]);
        writer = Fd(fds[1]);
    }
    Fd reader;
    Fd writer;
};

/// A pattern without a short period, so that a lost or moved byte shows.
inline std::string pattern(std::size_t size) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i)
        text[i] = static_cast<char>(i * 2654435761U >> 13);
    return text;
}

class ScratchDirectory {
  public:
    ScratchDirectory() {
        std::string name = (std::filesystem::temp_directory_path() / "hako-test-XXXXXX").string();
        if (::mkdtemp(name.data()) != nullptr) path_ = name;
    }
    ~ScratchDirectory() {
        std::error_code ignored;
        if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
    }
    ScratchDirectory(const ScratchDirectory&) = delete;
    ScratchDirectory& operator=(const ScratchDirectory&) = delete;
    [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }

  private:
    std::filesystem::path path_;
};

}  // namespace hako::test
