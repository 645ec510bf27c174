#include "devices/console/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <mutex>

namespace hako::console {
namespace {

// Read by signal handlers: written while g_raw is false, and g_raw is set last.
termios g_saved;
std::atomic<int> g_fd{-1};
std::atomic<bool> g_raw{false};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

constexpr std::array<int, 5> kCrashSignals = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
std::array<struct sigaction, kCrashSignals.size()> g_before;

/// tcsetattr() stops a background process with SIGTTOU, even one that only tidies up.
bool set_attributes(int fd, const termios& attributes) {
    sigset_t ttou;
    sigset_t before;
    sigemptyset(&ttou);
    sigaddset(&ttou, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &ttou, &before);
    int result = 0;
    do {
        result = ::tcsetattr(fd, TCSANOW, &attributes);
    } while (result != 0 && errno == EINTR);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return result == 0;
}

void on_crash(int number) {
    restore_terminal();
    // Whoever handled it before gets it as soon as this handler returns.
    for (std::size_t i = 0; i < kCrashSignals.size(); ++i)
        if (kCrashSignals[i] == number) ::sigaction(number, &g_before[i], nullptr);
    ::raise(number);
}

/// Each time anew: somebody may have put a handler of his own over ours meanwhile.
void arrange_restore() {
    static std::once_flag once;
    std::call_once(once, [] { (void)std::atexit(restore_terminal); });
    for (std::size_t i = 0; i < kCrashSignals.size(); ++i) {
        struct sigaction current{};
        if (::sigaction(kCrashSignals[i], nullptr, &current) != 0 || current.sa_handler == on_crash) continue;
        g_before[i] = current;
        struct sigaction action{};
        action.sa_handler = on_crash;
        action.sa_flags = SA_ONSTACK;
        sigemptyset(&action.sa_mask);
        ::sigaction(kCrashSignals[i], &action, nullptr);
    }
}

}  // namespace

bool in_foreground(int fd) {
    const pid_t foreground = ::tcgetpgrp(fd);
    // Without job control (not our controlling terminal) nobody else is in the foreground.
    return foreground < 0 || foreground == ::getpgrp();
}

bool enter_raw_mode(int fd) {
    if (::isatty(fd) != 1 || !in_foreground(fd)) return false;
    if (!g_raw.load()) {
        if (::tcgetattr(fd, &g_saved) != 0) return false;
        // A descriptor of its own: restoring must work after the backend has closed its.
        if (const int previous = g_fd.exchange(::fcntl(fd, F_DUPFD_CLOEXEC, 3)); previous >= 0)
            ::close(previous);
        if (g_fd.load() < 0) return false;
        arrange_restore();
    }
    termios raw = g_saved;
    ::cfmakeraw(&raw);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    g_raw.store(true);
    if (set_attributes(fd, raw)) return true;
    restore_terminal();
    return false;
}

void restore_terminal() {
    const int error = errno;
    if (g_raw.exchange(false)) set_attributes(g_fd.load(), g_saved);
    errno = error;
}

void claim_standard_fds() {
    for (int fd = 0; fd <= 2; ++fd)
        // The lowest free number is the one that is missing.
        if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)::open("/dev/null", O_RDWR);
}

}  // namespace hako::console
