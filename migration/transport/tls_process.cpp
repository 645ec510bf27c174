#include "migration/transport/tls_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>

#include "migration/transport/socket_stream.h"

namespace hako::migration {
namespace {

/// So long it may take to send the last bytes to a peer that does not read.
constexpr int kGraceMs = 1'000;

/// A child process, which is waited for.
class Child {
  public:
    explicit Child(pid_t pid) : pid_(pid) {}
    Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
    Child& operator=(Child&&) = delete;
    ~Child() {
        if (pid_ <= 0) return;
        const Fd watch(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
        pollfd polled{.fd = watch.get(), .events = POLLIN, .revents = 0};
        if (!watch.valid() || ::poll(&polled, 1, kGraceMs) != 1) ::kill(pid_, SIGKILL);
        while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
        }
    }

  private:
    pid_t pid_;
};

class ProcessStream final : public SocketStream {
  public:
    ProcessStream(Fd plain, Child child) : SocketStream(std::move(plain)), child_(std::move(child)) {}
    ~ProcessStream() override { ProcessStream::shut_down(); }  // so that the child ends
    ProcessStream(const ProcessStream&) = delete;
    ProcessStream& operator=(const ProcessStream&) = delete;

  private:
    Child child_;
};

/// Above those that the child gets.
Result<Fd> lift(const Fd& fd) {
    Fd lifted(::fcntl(fd.get(), F_DUPFD_CLOEXEC, kTlsPlainFd + 1));
    if (!lifted.valid()) return fail_errno(errno, "cannot hand a connection to hako-tls");
    return lifted;
}

struct FileActions {
    FileActions() { ::posix_spawn_file_actions_init(&actions); }
    FileActions(const FileActions&) = delete;
    FileActions& operator=(const FileActions&) = delete;
    ~FileActions() { ::posix_spawn_file_actions_destroy(&actions); }
    posix_spawn_file_actions_t actions{};
};

}  // namespace

Result<std::unique_ptr<TlsProcess>> TlsProcess::server(std::string program, std::string directory) {
    std::unique_ptr<TlsProcess> process(new TlsProcess(std::move(program), std::move(directory), true, ""));
    HAKO_TRY(process->check());
    return process;
}

Result<std::unique_ptr<TlsProcess>> TlsProcess::client(std::string program, std::string directory,
                                                       std::string host) {
    std::unique_ptr<TlsProcess> process(
        new TlsProcess(std::move(program), std::move(directory), false, std::move(host)));
    HAKO_TRY(process->check());
    return process;
}

std::string TlsProcess::default_program() {
    std::error_code error;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
    return (self.parent_path() / "hako-tls").string();
}

Result<> TlsProcess::check() const {
    if (::access(program_.c_str(), X_OK) != 0)
        return fail_host("{}: {}: TLS needs this program; install it beside hako", program_,
                         errno_text(errno));
    const std::string who = server_ ? "server" : "client";
    for (const std::string& name : {std::string("ca"), who}) {
        const std::string path = fmt::format("{}/{}-cert.pem", directory_, name);
        if (::access(path.c_str(), R_OK) != 0) return fail_input("{}: {}", path, errno_text(errno));
    }
    const std::string key = fmt::format("{}/{}-key.pem", directory_, who);
    if (::access(key.c_str(), R_OK) != 0) return fail_input("{}: {}", key, errno_text(errno));
    return {};
}

Outcome<std::unique_ptr<Stream>> TlsProcess::wrap(Fd socket, const Wait& wait) const {
    std::array<int, 2> ends{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
        return fail_as(Event::kLocal, "cannot make a socket pair: {}", errno_text(errno));
    Fd near(ends[0]);
    Fd far(ends[1]);
    socket = HAKO_TRY(lift(socket));
    far = HAKO_TRY(lift(far));
    FileActions files;
    ::posix_spawn_file_actions_adddup2(&files.actions, socket.get(), kTlsSocketFd);
    ::posix_spawn_file_actions_adddup2(&files.actions, far.get(), kTlsPlainFd);
    std::array<std::string, 4> words{program_, server_ ? "server" : "client", directory_, host_};
    std::array<char*, 5> arguments{words[0].data(), words[1].data(), words[2].data(), words[3].data(),
                                   nullptr};
    std::array<char*, 1> environment{nullptr};
    pid_t pid = -1;
    const int error =
        ::posix_spawn(&pid, program_.c_str(), &files.actions, nullptr, arguments.data(), environment.data());
    if (error != 0) return fail_as(Event::kLocal, "cannot start {}: {}", program_, errno_text(error));
    socket.reset();
    far.reset();
    auto stream = std::make_unique<ProcessStream>(std::move(near), Child(pid));
    std::array<std::byte, 1> status{};
    HAKO_TRY_WRAP(stream->receive(std::span<std::byte>(status), wait), "TLS handshake");
    if (status[0] == std::byte{0}) return stream;
    std::string reason;
    for (std::array<std::byte, 1> byte{}; reason.size() < kMaxTlsReason;) {
        if (!stream->receive(std::span<std::byte>(byte), wait)) break;
        reason += static_cast<char>(byte[0]);
    }
    return fail_as(Event::kRefused, "{}", reason);
}

}  // namespace hako::migration
