#include "tools/hako/bench_child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

namespace hako::bench {
namespace {

/// A guest may print for ever.
constexpr std::size_t kMaxOutput = 4 << 20;
constexpr std::size_t kMaxLastWords = 500;
constexpr int kCannotExecute = 127;

struct Pipe {
    Fd read;
    Fd write;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno(errno, "cannot make a pipe");
    return Pipe{Fd(ends[0]), Fd(ends[1])};
}

/// In the child, between fork and exec: nothing but system calls.
[[noreturn]] void become(const std::vector<char*>& arguments, int input, int output, int errors,
                         ::pid_t parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(kCannotExecute);
    ::dup2(input, STDIN_FILENO);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(errors, STDERR_FILENO);
    ::setsid();  // a Ctrl-C at the terminal is for hako alone, which then kills what it started
    ::execvp(arguments.front(), arguments.data());
    const int error = errno;
    const std::string_view text = error == ENOENT ? "there is no such program\n" : "it cannot be executed\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    ::_exit(kCannotExecute);
}

int milliseconds_until(Child::Deadline deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Child::Deadline::clock::now());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1 << 30));
}

bool wait_readable(int fd, Child::Deadline deadline) {
    for (;;) {
        pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
        const int ready = ::poll(&entry, 1, milliseconds_until(deadline));
        if (ready >= 0 || errno != EINTR) return ready > 0;
    }
}

}  // namespace

Result<Child> Child::start(const std::vector<std::string>& words) {
    Pipe input = HAKO_TRY(make_pipe());
    Pipe output = HAKO_TRY(make_pipe());
    Fd errors(::memfd_create("stderr", MFD_CLOEXEC));
    if (!errors.valid()) return fail_errno(errno, "cannot make a memory file");
    std::vector<char*> arguments;
    for (const std::string& word : words)
        arguments.push_back(const_cast<char*>(word.c_str()));  // execvp writes to none of them
    arguments.push_back(nullptr);
    const ::pid_t parent = ::getpid();
    const ::pid_t pid = ::fork();
    if (pid < 0) return fail_errno(errno, "cannot start {}", words.front());
    if (pid == 0) become(arguments, input.read.get(), output.write.get(), errors.get(), parent);
    return Child(words.front(), pid, std::move(input.write), std::move(output.read), std::move(errors));
}

Child::Child(Child&& other) noexcept
    : program_(std::move(other.program_)),
      pid_(std::exchange(other.pid_, -1)),
      input_(std::move(other.input_)),
      output_(std::move(other.output_)),
      errors_(std::move(other.errors_)),
      ended_(other.ended_) {}

Child::~Child() {
    if (pid_ > 0) wait(Deadline{});
}

Result<> Child::write(std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(input_.get(), text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return fail_errno(errno, "{} takes no input", program_);
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
}

Result<bool> Child::read(std::string& output, Deadline deadline) {
    if (!wait_readable(output_.get(), deadline)) return false;
    std::array<char, 65536> buffer{};
    const ssize_t got = ::read(output_.get(), buffer.data(), buffer.size());
    if (got < 0) return fail_errno(errno, "cannot read what {} writes", program_);
    if (got == 0) {
        ended_ = true;
        return false;
    }
    output.append(buffer.data(), static_cast<std::size_t>(got));
    if (output.size() > kMaxOutput) return fail_host("{} wrote more than {} bytes", program_, kMaxOutput);
    return true;
}

int Child::wait(Deadline deadline) {
    const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    if (!process.valid() || !wait_readable(process.get(), deadline)) ::kill(pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string Child::last_words() const {
    std::array<char, kMaxLastWords> buffer{};
    const off_t size = ::lseek(errors_.get(), 0, SEEK_END);
    const off_t start = std::max<off_t>(0, size - static_cast<off_t>(buffer.size()));
    const ssize_t got = ::pread(errors_.get(), buffer.data(), buffer.size(), start);
    std::string text(buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    while (text.ends_with('\n') || text.ends_with('\r'))
        text.pop_back();
    return text.substr(text.find_last_of('\n') + 1);
}

Result<std::string> run_program(const std::vector<std::string>& words, Child::Deadline deadline) {
    Child child = HAKO_TRY(Child::start(words));
    std::string output;
    while (HAKO_TRY(child.read(output, deadline))) {
    }
    if (!child.ended()) return fail_host("{} does not come to an end", child.program());
    if (const int code = child.wait(deadline); code != 0)
        return fail_host("{} ended with code {}: {}", child.program(), code, child.last_words());
    return output;
}

}  // namespace hako::bench
