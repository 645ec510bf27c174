#include "vmm/base/listen_socket.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>

#include "tests/unit/seed/temporary.h"

using namespace hako;
using hako::test::TemporaryDirectory;

namespace {

bool exists(const std::string& path) {
    return std::filesystem::exists(std::filesystem::symlink_status(path));
}

mode_t mode(const std::string& path) {
    struct ::stat info{};
    return ::lstat(path.c_str(), &info) == 0 ? info.st_mode & 07777U : 0;
}

/// A socket made without the lock file, as other programs do it.
Fd foreign_socket(const std::string& path, bool listening) {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    if (listening) REQUIRE(::listen(fd.get(), 1) == 0);
    return fd;
}

std::string refusal(const std::string& path) {
    const auto socket = ListenSocket::open(path, "API socket");
    REQUIRE_FALSE(socket);
    CHECK(socket.error().fault() == Fault::kInput);
    return socket.error().text();
}

}  // namespace

TEST_CASE("a socket is its owner's alone, and goes away with its object") {
    const TemporaryDirectory directory;
    const std::string path = directory.path() / "api.sock";
    const mode_t before = ::umask(0);
    {
        const auto socket = ListenSocket::open(path, "API socket");
        REQUIRE(socket);
        CHECK(mode(path) == 0600);
        CHECK(mode(path + ".lock") == 0600);
        CHECK(refusal(path).find("another process serves it") != std::string::npos);
        CHECK(exists(path));  // the refused one took nothing away
        CHECK(exists(path + ".lock"));
    }
    ::umask(before);
    CHECK_FALSE(exists(path));
    CHECK_FALSE(exists(path + ".lock"));
    CHECK(ListenSocket::open(path, "API socket"));
}

TEST_CASE("the socket of a dead process is replaced, a served one and a plain file are not") {
    const TemporaryDirectory directory;
    const std::string path = directory.path() / "api.sock";
    foreign_socket(path, true).reset();
    REQUIRE(exists(path));
    CHECK(ListenSocket::open(path, "API socket"));
    {
        const Fd served = foreign_socket(path, true);
        CHECK(refusal(path).find("another process serves it") != std::string::npos);
        CHECK(exists(path));
    }
    std::filesystem::remove(path);
    const std::string file = directory.file("file", "precious");
    CHECK(refusal(file).find("no socket") != std::string::npos);
    CHECK(exists(file));
    CHECK_FALSE(exists(file + ".lock"));
    std::filesystem::create_symlink(file, path);
    CHECK(refusal(path).find("no socket") != std::string::npos);
    CHECK(exists(path));
    // Nor is a lock taken on a file that a symbolic link leads to.
    std::filesystem::remove(path);
    std::filesystem::create_symlink(file, path + ".lock");
    refusal(path);
}

TEST_CASE("a socket that somebody put in its place is left alone") {
    const TemporaryDirectory directory;
    const std::string path = directory.path() / "api.sock";
    auto socket = ListenSocket::open(path, "API socket");
    REQUIRE(socket);
    std::filesystem::rename(path, path + ".old");
    const Fd other = foreign_socket(path, true);
    socket->close();
    CHECK(exists(path));
}

TEST_CASE("paths that no socket can have are refused") {
    const TemporaryDirectory directory;
    refusal("");
    refusal(directory.path() / std::string(200, 'x'));
    refusal(directory.path() / "none" / "api.sock");
    refusal(std::string("/tmp/a\0b", 8));
}

TEST_CASE("a socket of another process is taken over if it listens, and is not removed") {
    const TemporaryDirectory directory;
    const std::string path = directory.path() / "api.sock";
    {
        const auto socket = ListenSocket::open(foreign_socket(path, true), "API socket");
        REQUIRE(socket);
        CHECK((::fcntl(socket->fd(), F_GETFD) & FD_CLOEXEC) != 0);
    }
    CHECK(exists(path));
    std::filesystem::remove(path);
    CHECK_FALSE(ListenSocket::open(foreign_socket(path, false), "API socket"));
    CHECK_FALSE(ListenSocket::open(Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)), "API socket"));
    CHECK_FALSE(ListenSocket::open(Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), "API socket"));
    CHECK_FALSE(ListenSocket::open(Fd(), "API socket"));
}
