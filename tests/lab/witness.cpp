// Runs in a guest's user space and says what it loses when its machine is saved, moved and built again:
// vector registers, a timer. Prints a line with FAILED for each, and what was looked at when the file that it
// is given exists.
//
// witness FILE
#include <poll.h>
#include <sched.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

const char* stop_file;

bool stopped() {
    return access(stop_file, F_OK) == 0;
}

std::int64_t now_ns() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

void die(const char* what) {
    std::printf("WITNESS FAILED: %s: %m\n", what);
    _exit(1);
}

// Vector registers. The values are nowhere else while the loop turns and while the process sleeps: an idle
// kernel leaves the registers of the last process where they are.

struct alignas(64) Registers {
    std::uint8_t bytes[32][64];
};

#define EACH_OF_16(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define EACH_OF_32(X) \
    EACH_OF_16(X)     \
    X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
// Turns for about as long as the sleep that follows (system call 35, nanosleep), so that mostly somebody
// holds a CPU.
#define HOLD "mov $4000000, %%ecx; 1: dec %%ecx; jnz 1b; mov $35, %%eax; xor %%esi, %%esi; syscall;"
#define LOAD_XMM(N) "movdqu " #N "*64(%1), %%xmm" #N ";"
#define STORE_XMM(N) "movdqu %%xmm" #N ", " #N "*64(%2);"
#define LOAD_YMM(N) "vmovdqu " #N "*64(%1), %%ymm" #N ";"
#define STORE_YMM(N) "vmovdqu %%ymm" #N ", " #N "*64(%2);"
#define LOAD_ZMM(N) "vmovdqu64 " #N "*64(%1), %%zmm" #N ";"
#define STORE_ZMM(N) "vmovdqu64 %%zmm" #N ", " #N "*64(%2);"
#define CLOBBERS                                                                                      \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
        "xmm12", "xmm13", "xmm14", "xmm15"
#define HELD(LOADS, STORES)                                           \
    asm volatile(LOADS HOLD STORES ::"D"(&pause), "r"(&in), "r"(&out) \
                 : "rax", "rcx", "rsi", "r11", "memory", CLOBBERS)

struct Width {
    const char* name;
    std::size_t registers;
    std::size_t bytes;
};

Width width() {
    if (__builtin_cpu_supports("avx512f")) return {"zmm", 32, 64};
    if (__builtin_cpu_supports("avx")) return {"ymm", 16, 32};
    return {"xmm", 16, 16};
}

void hold(const Width& width, const Registers& in, Registers& out) {
    const timespec pause{.tv_sec = 0, .tv_nsec = 20'000'000};
    switch (width.bytes) {
        case 64:
            HELD(EACH_OF_32(LOAD_ZMM), EACH_OF_32(STORE_ZMM));
            break;
        case 32:
            HELD(EACH_OF_16(LOAD_YMM), EACH_OF_16(STORE_YMM));
            break;
        default:
            HELD(EACH_OF_16(LOAD_XMM), EACH_OF_16(STORE_XMM));
    }
}

void watch_registers() {
    const Width held = width();
    static Registers in;
    static Registers out;
    std::uint64_t rounds = 0;
    for (; !stopped(); ++rounds) {
        for (std::size_t i = 0; i < sizeof in; ++i)
            in.bytes[i / 64][i % 64] =
                static_cast<std::uint8_t>(i * 7 + rounds + static_cast<std::uint64_t>(getpid()));
        hold(held, in, out);
        for (std::size_t i = 0; i < held.registers; ++i)
            if (std::memcmp(in.bytes[i], out.bytes[i], held.bytes) != 0)
                std::printf("REGISTERS FAILED: %s%zu\n", held.name, i);
    }
    std::printf("witness: %lu times %zu %s registers\n", rounds, held.registers, held.name);
}

/// A timer of a second goes off once, and not before.
void watch_timer() {
    const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    if (timer < 0) die("timerfd_create");
    std::uint64_t seconds = 0;
    for (; !stopped(); ++seconds) {
        const itimerspec once{.it_interval = {}, .it_value = {.tv_sec = 1, .tv_nsec = 0}};
        const std::int64_t from = now_ns();
        timerfd_settime(timer, 0, &once, nullptr);
        pollfd ready{.fd = timer, .events = POLLIN, .revents = 0};
        poll(&ready, 1, -1);
        std::uint64_t times = 0;
        const bool fired = read(timer, &times, sizeof times) == sizeof times;
        const std::int64_t took = now_ns() - from;
        if (!fired || times != 1 || took < 1'000'000'000)
            std::printf("TIMER FAILED: fired %lu times, after %ld ns\n", times, took);
        if (poll(&ready, 1, 100) != 0) std::printf("TIMER FAILED: once more\n");
    }
    std::printf("witness: %lu timers\n", seconds);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    stop_file = argv[1];
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    for (long cpu = 0; cpu < cpus; ++cpu) {
        if (fork() != 0) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(static_cast<std::size_t>(cpu), &one);
        sched_setaffinity(0, sizeof one, &one);
        watch_registers();
        return 0;
    }
    watch_timer();
    while (wait(nullptr) > 0) {
    }
    return 0;
}
