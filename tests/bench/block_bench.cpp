// What a block request costs: system calls, allocations, and throughput beside a plain io_uring loop on the
// same file.
//
// The driver's side plays a guest at queue depth 32 in a thread of its own; kicks and interrupts are eventfds
// as with KVM. Numbers: `system calls` counts io_uring_enter(2) of the io thread, which makes no other while
// it serves (strace -f -c shows it). Times are of this machine; the ratio compares like with like.
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/bench/allocation_counter.h"
#include "tests/unit/virtio/driver_queue.h"
#include "virtio/blk/device.h"
#include "virtio/blk/protocol.h"
#include "virtio/queue.h"

namespace hako {
namespace {

constexpr unsigned kDepth = 32;
constexpr std::uint32_t kBlock = 4096;

struct Options {
    std::string path;
    std::uint64_t file_size = 256 * MiB;
    std::uint64_t requests = 100'000;
    bool buffered = false;
    bool json = false;
};

struct Outcome {
    double seconds = 0;
    double system_calls = 0;  ///< a request
    double allocations = 0;   ///< a request
    double batch = 0;         ///< requests an interrupt
};

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

class Sectors {
  public:
    explicit Sectors(std::uint64_t file_size) : blocks_(file_size / kBlock) {}
    std::uint64_t next() {
        state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
        return (state_ >> 33) % blocks_ * (kBlock / virtio::blk::kSectorSize);
    }

  private:
    std::uint64_t blocks_;
    std::uint64_t state_ = 1;
};

class Transport final : public virtio::TransportHooks {
  public:
    [[nodiscard]] int queue_interrupt(std::uint16_t /*index*/) const override { return interrupt.fd(); }
    void config_changed() override {}
    void needs_reset(std::string_view why) override {
        fmt::print(stderr, "the device wants a reset: {}\n", why);
        std::abort();
    }
    EventFd interrupt = EventFd::create().value();
    std::vector<EventFd> kicks;
};

/// Random reads through the whole of virtio-blk.
Result<Outcome> run_virtio(const Options& options) {
    auto engine = HAKO_TRY(io::Engine::create());
    auto memory = HAKO_TRY(GuestMemory::create({.size = 16 * MiB}));
    virtio::blk::Config config{.id = "bench", .path = options.path};
    if (options.buffered) config.direct = false;
    virtio::blk::Disk disk = HAKO_TRY(virtio::blk::Disk::open(config));
    const std::uint64_t size = HAKO_TRY(disk.capacity()) * virtio::blk::kSectorSize;
    if (size < kBlock) return fail_input("{} is smaller than a block", options.path);
    auto device = HAKO_TRY(virtio::blk::BlockDevice::create(config, std::move(disk), *engine));
    Transport transport;
    transport.kicks.push_back(HAKO_TRY(EventFd::create()));
    test::DriverQueue driver(memory, GuestAddress{64 * KiB}, config.queue_size, true);
    const virtio::QueueConfig queue = driver.config();
    HAKO_TRY(device->activate({.features = device->features(),
                               .memory = memory,
                               .hooks = transport,
                               .queues = std::span(&queue, 1),
                               .kicks = transport.kicks,
                               .positions = {}}));

    const GuestAddress headers{1 * MiB};
    const GuestAddress tables{2 * MiB};
    const GuestAddress data{4 * MiB};
    std::array<std::uint16_t, virtio::kMaxQueueSize> slot_of_head{};
    Sectors sectors(size);
    const auto start_request = [&](std::uint16_t slot) {
        const GuestAddress header = headers + std::uint64_t{64} * slot;
        memory.store(header, virtio::blk::RequestHeader{.type = 0, .reserved = 0, .sector = sectors.next()});
        const std::array buffers = {test::Buffer{header, 16, false},
                                    test::Buffer{data + std::uint64_t{kBlock} * slot, kBlock, true},
                                    test::Buffer{header + 32, 1, true}};
        slot_of_head[driver.add_indirect(buffers, tables + std::uint64_t{64} * slot).value()] = slot;
    };

    std::uint64_t done = 0;
    std::uint64_t started = 0;
    const auto run = [&](std::uint64_t until) {
        while (started < until && started - done < kDepth)
            start_request(static_cast<std::uint16_t>(started++ % kDepth));
        if (driver.publish()) transport.kicks[0].signal();
        while (done < until) {
            unsigned taken = 0;
            while (const auto used = driver.take_used()) {
                ++done;
                ++taken;
                const std::uint16_t slot = slot_of_head[used->head];
                if (memory.load<std::uint8_t>(headers + (std::uint64_t{64} * slot + 32)) != 0) return false;
                if (started == until) continue;
                ++started;
                start_request(slot);
            }
            if (taken > 0 && driver.publish()) transport.kicks[0].signal();
            if (done == until || driver.want_interrupt()) continue;
            pollfd poll_fd{.fd = transport.interrupt.fd(), .events = POLLIN, .revents = 0};
            if (::poll(&poll_fd, 1, 10'000) != 1) return false;
            transport.interrupt.take();
        }
        return true;
    };
    const std::uint64_t warm_up = std::min<std::uint64_t>(options.requests / 10 + kDepth, 1000);
    if (!run(warm_up)) return fail_host("requests failed or got stuck");

    const std::uint64_t allocations = bench::allocations();
    const io::EngineCounters before = engine->counters();
    const std::uint64_t interrupts = device->metrics(0).interrupts;
    const auto start = Clock::now();
    if (!run(warm_up + options.requests)) return fail_host("requests failed or got stuck");
    Outcome outcome{.seconds = since(start)};
    const auto requests = static_cast<double>(options.requests);
    outcome.allocations = static_cast<double>(bench::allocations() - allocations) / requests;
    outcome.system_calls = static_cast<double>(engine->counters().enters - before.enters) / requests;
    outcome.batch = requests / static_cast<double>(device->metrics(0).interrupts - interrupts);
    return outcome;
}

/// The same reads by the shortest loop there is: one thread, one ring, no device in between.
Result<Outcome> run_plain(const Options& options) {
    const Fd file(::open(options.path.c_str(), O_RDONLY | O_CLOEXEC | (options.buffered ? 0 : O_DIRECT)));
    if (!file.valid()) return fail_errno(errno, "cannot open {}", options.path);
    const off_t size = ::lseek(file.get(), 0, SEEK_END);
    if (size < static_cast<off_t>(kBlock)) return fail_input("{} is smaller than a block", options.path);
    io_uring ring{};
    io_uring_params params{};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN;
    if (const int error = -io_uring_queue_init_params(kDepth * 2, &ring, &params); error != 0)
        return fail_errno(error, "cannot set up an io_uring");
    const int fd = file.get();
    io_uring_register_files(&ring, &fd, 1);
    io_uring_register_ring_fd(&ring);
    const std::unique_ptr<void, decltype(&std::free)> memory(std::aligned_alloc(kBlock, kDepth * kBlock),
                                                             &std::free);
    std::array<iovec, kDepth> vectors{};
    Sectors sectors(static_cast<std::uint64_t>(size));
    const auto start_request = [&](std::uint64_t slot) {
        vectors[slot] = {.iov_base = static_cast<std::byte*>(memory.get()) + slot * kBlock,
                         .iov_len = kBlock};
        io_uring_sqe* entry = io_uring_get_sqe(&ring);
        io_uring_prep_readv(entry, 0, &vectors[slot], 1, sectors.next() * virtio::blk::kSectorSize);
        entry->flags |= IOSQE_FIXED_FILE;
        entry->user_data = slot;
    };
    std::uint64_t done = 0;
    std::uint64_t started = 0;
    std::uint64_t enters = 0;
    const auto start = Clock::now();
    while (started < kDepth)
        start_request(started++);
    while (done < options.requests) {
        io_uring_submit_and_wait(&ring, 1);
        ++enters;
        for (unsigned left = io_uring_cq_ready(&ring); left > 0; --left) {
            io_uring_cqe* entry = nullptr;
            if (io_uring_peek_cqe(&ring, &entry) != 0) break;
            const std::uint64_t slot = entry->user_data;
            const bool good = entry->res == static_cast<int>(kBlock);
            io_uring_cqe_seen(&ring, entry);
            if (!good) {
                io_uring_queue_exit(&ring);
                return fail_host("a plain read failed");
            }
            ++done;
            if (started < options.requests) {
                start_request(slot);
                ++started;
            }
        }
    }
    const Outcome outcome{
        .seconds = since(start),
        .system_calls = static_cast<double>(enters) / static_cast<double>(options.requests)};
    io_uring_queue_exit(&ring);
    return outcome;
}

Result<> fill_file(const Options& options) {
    const Fd file(::open(options.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!file.valid()) return fail_errno(errno, "cannot create {}", options.path);
    // Real content: reads of holes would not reach the disk.
    std::vector<std::uint64_t> chunk(1 * MiB / 8);
    std::mt19937_64 random(1);
    std::ranges::generate(chunk, random);
    for (std::uint64_t offset = 0; offset < options.file_size; offset += MiB) {
        if (::pwrite(file.get(), chunk.data(), MiB, static_cast<off_t>(offset)) != static_cast<ssize_t>(MiB))
            return fail_errno(errno, "cannot fill {}", options.path);
    }
    ::fsync(file.get());
    return {};
}

Result<> run(const Options& options) {
    // In turns, so that a change of the machine's mood hits both; the best of each.
    std::vector<Outcome> virtio;
    std::vector<Outcome> plain;
    for (int round = 0; round < 3; ++round) {
        plain.push_back(HAKO_TRY(run_plain(options)));
        virtio.push_back(HAKO_TRY(run_virtio(options)));
    }
    const auto best = [](const std::vector<Outcome>& outcomes) {
        return *std::ranges::min_element(outcomes, {}, &Outcome::seconds);
    };
    const Outcome device = best(virtio);
    const Outcome loop = best(plain);
    const auto requests = static_cast<double>(options.requests);
    if (options.json) {
        fmt::print(
            "{{\"benchmark\": \"block\", \"queue_depth\": {}, \"block_bytes\": {}, \"requests\": {}, "
            "\"direct\": {}, "
            "\"system_calls_per_request\": {:.4f}, \"allocations_per_request\": {:.4f}, "
            "\"requests_per_interrupt\": {:.2f}, \"requests_per_second\": {:.0f}, "
            "\"plain_system_calls_per_request\": {:.4f}, \"plain_requests_per_second\": {:.0f}, "
            "\"throughput_ratio\": {:.3f}}}\n",
            kDepth, kBlock, options.requests, !options.buffered, device.system_calls, device.allocations,
            device.batch, requests / device.seconds, loop.system_calls, requests / loop.seconds,
            loop.seconds / device.seconds);
    } else {
        fmt::print("{} random reads of {} bytes at queue depth {}, {}\n", options.requests, kBlock, kDepth,
                   options.buffered ? "through the page cache" : "direct");
        fmt::print("{:<28}{:>14}{:>18}\n", "", "virtio-blk", "plain io_uring");
        fmt::print("{:<28}{:>14.3f}{:>18.3f}\n", "system calls per request", device.system_calls,
                   loop.system_calls);
        fmt::print("{:<28}{:>14.3f}{:>18}\n", "allocations per request", device.allocations, "-");
        fmt::print("{:<28}{:>14.1f}{:>18}\n", "requests per interrupt", device.batch, "-");
        fmt::print("{:<28}{:>14.0f}{:>18.0f}\n", "requests per second", requests / device.seconds,
                   requests / loop.seconds);
        fmt::print("{:<28}{:>14.2f}\n", "throughput, ratio", loop.seconds / device.seconds);
    }
    if (device.allocations > 0) return fail_host("requests allocate: {} each", device.allocations);
    if (device.system_calls >= 1)
        return fail_host("a request takes {} system calls, not under one", device.system_calls);
    return {};
}

}  // namespace
}  // namespace hako

int main(int argc, char** argv) {
    hako::Options options;
    CLI::App app("Cost of a virtio-blk request. Exit code 1: it allocates, or takes a system call or more.");
    app.add_option("--file", options.path, "file to read (default: a temporary one, made and removed)");
    app.add_option("--size", options.file_size, "bytes of the temporary file")->capture_default_str();
    app.add_option("--requests", options.requests, "reads in each round")->capture_default_str();
    app.add_flag("--buffered", options.buffered, "go through the page cache instead of direct I/O");
    app.add_flag("--json", options.json, "one JSON object instead of a table");
    CLI11_PARSE(app, argc, argv);

    const bool temporary = options.path.empty();
    hako::Result<> outcome;
    if (temporary) {
        const char* directory = std::getenv("TMPDIR");
        options.path =
            fmt::format("{}/hako-block-bench-{}", directory != nullptr ? directory : "/tmp", ::getpid());
        outcome = hako::fill_file(options);
    }
    if (outcome) outcome = hako::run(options);
    if (temporary) ::unlink(options.path.c_str());
    if (outcome) return 0;
    fmt::print(stderr, "block-bench: {}\n", outcome.error().text());
    return 1;
}
