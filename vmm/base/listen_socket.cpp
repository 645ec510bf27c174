#include "vmm/base/listen_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace hako {
namespace {

constexpr int kBacklog = 128;
constexpr mode_t kMode = 0600;

Result<sockaddr_un> address_of(const std::string& path, std::string_view what) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path || path.find('\0') != std::string::npos)
        return fail_input("{} {}: the path of a socket has 1 to {} characters: choose a shorter one", what,
                          path, sizeof address.sun_path - 1);
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

/// Is `fd` still the file at `path`?
bool same_file(int fd, const std::string& path) {
    struct ::stat opened{};
    struct ::stat found{};
    return ::fstat(fd, &opened) == 0 && ::lstat(path.c_str(), &found) == 0 && opened.st_dev == found.st_dev &&
           opened.st_ino == found.st_ino;
}

/// Whoever holds the lock on "<path>.lock" serves `path`.
Result<Fd> lock(const std::string& path, std::string_view what) {
    const std::string name = path + ".lock";
    // Its last owner removes the file: what was opened may be gone from the directory by the time it is
    // locked. Each turn means that some process started or ended in between.
    for (int turn = 0; turn < 16; ++turn) {
        Fd file(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kMode));
        if (!file.valid()) {
            const int error = errno;
            return std::unexpected(Error(Fault::kInput, fmt::format("{}: choose a directory that this user "
                                                                    "may write to",
                                                                    errno_text(error)))
                                       .wrap(fmt::format("{} {}: cannot open {}", what, path, name)));
        }
        if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno == EINTR) continue;
            if (errno == EWOULDBLOCK)
                return fail_input("{} {}: another process serves it: end that one, or choose another path",
                                  what, path);
            return fail_errno(errno, "{} {}: cannot lock {}", what, path, name);
        }
        if (same_file(file.get(), name)) return file;
    }
    return fail_host("{} {}: {} keeps changing: choose another path", what, path, name);
}

/// Removes the socket that a dead process left at `path`.
Result<> remove_stale(const std::string& path, const sockaddr_un& address, std::string_view what) {
    struct ::stat found{};
    if (::lstat(path.c_str(), &found) != 0) {
        if (errno == ENOENT) return {};
        return fail_errno(errno, "{} {}: cannot look at it", what, path);
    }
    if (!S_ISSOCK(found.st_mode))
        return fail_input("{} {}: there is a file that is no socket: remove it, or choose another path", what,
                          path);
    // Programs that know nothing of the lock file answer here.
    const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!probe.valid()) return fail_errno(errno, "{} {}: cannot make a socket", what, path);
    const int connected = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    if (connected == 0 || errno == EAGAIN)
        return fail_input("{} {}: another process serves it: end that one, or choose another path", what,
                          path);
    if (errno != ECONNREFUSED && errno != ENOENT)
        return fail_errno(errno, "{} {}: there is a socket that cannot be tried", what, path);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
        return fail_errno(errno, "{} {}: cannot remove the socket of a dead process", what, path);
    return {};
}

int option(int fd, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    return ::getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

}  // namespace

Result<ListenSocket> ListenSocket::open(SocketSpec spec, std::string_view what) {
    if (auto* const fd = std::get_if<Fd>(&spec)) return adopt(std::move(*fd), what);
    return make(std::move(std::get<std::string>(spec)), what);
}

Result<ListenSocket> ListenSocket::make(std::string path, std::string_view what) {
    const sockaddr_un address = HAKO_TRY(address_of(path, what));
    ListenSocket socket;
    socket.lock_ = HAKO_TRY(lock(path, what));
    // From here on the lock file is this object's to remove.
    socket.path_ = path;
    HAKO_TRY(remove_stale(path, address, what));
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd.valid()) return fail_errno(errno, "{} {}: cannot make a socket", what, path);
    // The socket's own mode is what bind() gives the file, so that it is never open to others.
    if (::fchmod(fd.get(), kMode) != 0) return fail_errno(errno, "{} {}: cannot set its mode", what, path);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return fail_errno(errno, "{} {}: cannot bind it", what, path);
    struct ::stat made{};
    if (::lstat(path.c_str(), &made) == 0) {
        socket.device_ = made.st_dev;
        socket.inode_ = made.st_ino;
    }
    if (::listen(fd.get(), kBacklog) != 0) return fail_errno(errno, "{} {}: cannot listen", what, path);
    socket.fd_ = std::move(fd);
    return socket;
}

Result<ListenSocket> ListenSocket::adopt(Fd fd, std::string_view what) {
    if (option(fd.get(), SO_DOMAIN) != AF_UNIX || option(fd.get(), SO_TYPE) != SOCK_STREAM ||
        option(fd.get(), SO_ACCEPTCONN) != 1)
        return fail_input("{} fd {}: it is no unix stream socket that listens: pass one", what, fd.get());
    if (::fcntl(fd.get(), F_SETFD, FD_CLOEXEC) != 0)
        return fail_errno(errno, "{} fd {}: cannot be marked close-on-exec", what, fd.get());
    ListenSocket socket;
    socket.fd_ = std::move(fd);
    return socket;
}

void ListenSocket::close() {
    fd_.reset();
    if (path_.empty()) return;
    struct ::stat found{};
    if (inode_ != 0 && ::lstat(path_.c_str(), &found) == 0 && found.st_dev == device_ &&
        found.st_ino == inode_)
        ::unlink(path_.c_str());
    ::unlink((path_ + ".lock").c_str());
    lock_.reset();
    path_.clear();
}

}  // namespace hako
