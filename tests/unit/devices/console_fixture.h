// A guest's end for console backends, and waiting without sleeping.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <filesystem>
#include <string>
#include <utility>

#include "devices/console/backend.h"
#include "vmm/base/fd.h"

namespace hako::test {

/// Handles events until `condition` holds; false after 10 seconds.
template <typename Condition>
bool run_until(boost::asio::io_context& io, Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        io.restart();
        io.run_one_for(std::chrono::milliseconds(20));
    }
    return true;
}

struct FakePort final : console::Port {
    std::size_t receive(std::span<const std::uint8_t> bytes) override {
        const std::size_t taken = std::min(room, bytes.size());
        text.append(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
        room -= taken;
        return taken;
    }
    void writable() override { ++writables; }

    std::size_t room = SIZE_MAX;
    std::string text;
    int writables = 0;
};

/// True if all of `text` was taken.
inline bool put(console::Sink& sink, std::string_view text) {
    for (const char c : text)
        if (!sink.put(static_cast<std::uint8_t>(c))) return false;
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
