// What sending memory costs: finding dirty pages, finding zero ones, and the way over a loopback socket.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <random>
#include <thread>

#include "migration/memory/receiver_pool.h"
#include "migration/memory/sender_pool.h"
#include "migration/memory/zero_page.h"
#include "migration/transport/dialer.h"
#include "migration/transport/listener.h"

namespace hako::migration {
namespace {

/// The bitmap of a guest of `range(0)` GiB with `range(1)` pages of a thousand dirty.
void scan_bitmap(benchmark::State& state) {
    const auto pages = static_cast<std::uint64_t>(state.range(0)) * GiB / kPageSize;
    RegionBits words(pages / 64);
    std::mt19937_64 random(1);
    for (std::uint64_t page = 0; page < pages; ++page) {
        if (static_cast<std::int64_t>(random() % 1000) < state.range(1))
            words[page / 64] |= std::uint64_t{1} << (page % 64);
    }
    for (auto _ : state) {
        std::uint64_t found = 0;
        RunScanner scanner(words, 0, pages, 1024);
        while (const auto run = scanner.next())
            found += run->pages;
        benchmark::DoNotOptimize(found);
    }
    state.counters["GiB of guest per second"] = benchmark::Counter(
        static_cast<double>(state.range(0)), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(scan_bitmap)->ArgsProduct({{16}, {0, 1, 100, 1000}})->ArgNames({"GiB", "per mille"});

template <bool (*kIsZero)(const std::byte*)>
void zero_page(benchmark::State& state) {
    if (kIsZero == is_zero_page_avx2 && !has_avx2()) return state.SkipWithError("no AVX2 here");
    constexpr std::size_t kBytes = 64 * MiB;
    void* const memory =
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    const auto* const pages = static_cast<const std::byte*>(memory);
    for (auto _ : state) {
        std::size_t zero = 0;
        for (std::size_t at = 0; at < kBytes; at += kPageSize)
            zero += kIsZero(pages + at) ? 1U : 0U;
        benchmark::DoNotOptimize(zero);
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(kBytes) *
                            static_cast<std::int64_t>(state.iterations()));
    ::munmap(memory, kBytes);
}
BENCHMARK(zero_page<is_zero_page_avx2>)->Name("zero_page/avx2");
BENCHMARK(zero_page<is_zero_page_scalar>)->Name("zero_page/scalar");

class NoLog final : public DirtyLogClearer {
  public:
    Result<> clear_dirty(std::size_t, std::uint64_t, std::uint64_t, std::span<const std::uint64_t>) override {
        return {};
    }
};

MemoryView map(std::uint64_t bytes) {
    void* const memory =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return {.layout = {.regions = {{.address = 0, .bytes = bytes}}},
            .mappings = {{static_cast<std::byte*>(memory), bytes}}};
}

/// Rounds of 128 MiB without a zero page over TCP on this host, by connections.
void loopback(benchmark::State& state) {
    constexpr std::uint64_t kBytes = 128 * MiB;
    constexpr Wait kWait{};
    const auto connections = static_cast<unsigned>(state.range(0));
    const MemoryView here = map(kBytes);
    const MemoryView there = map(kBytes);
    for (std::uint64_t page = 0; page < kBytes; page += kPageSize)
        here.mappings[0][page] = std::byte{1};
    const PageBits all = make_bits(here.layout, true);
    PageBits received = make_bits(here.layout, false);
    MemoryCounters sent;
    MemoryCounters came;
    BandwidthLimit limit;
    NoLog log;
    const PageBits touched;
    const auto stop = Stop::create().value();
    auto listener = Listener::open(TcpAddress{.host = "127.0.0.1", .port = "0"}).value();
    auto dialer =
        Dialer::create(TcpAddress{.host = "127.0.0.1", .port = std::to_string(listener->port())}).value();
    std::vector<std::unique_ptr<Stream>> near;
    std::vector<std::unique_ptr<Stream>> far;
    for (unsigned index = 0; index < connections; ++index) {
        near.push_back(dialer->connect(kWait).value());
        far.push_back(listener->accept(kWait).value());
    }
    {
        const auto senders = SenderPool::start({.memory = here,
                                                .connections = connections,
                                                .limit = limit,
                                                .counters = sent,
                                                .clearer = log,
                                                .touched = touched},
                                               std::move(near), milliseconds(60'000), *stop)
                                 .value();
        const auto receivers =
            ReceiverPool::start(
                {.memory = there, .connections = connections, .received = received, .counters = came},
                std::move(far), *stop)
                .value();
        std::uint32_t round = 0;
        for (auto _ : state) {
            PageBits pages = all;
            senders->begin(round, false, pages);
            const auto totals = senders->finish(kWait);
            if (!totals ||
                !receivers->finish({.round = round, .pages = totals->pages, .zero_pages = totals->zero_pages},
                                   kWait))
                return state.SkipWithError("a round failed");
            ++round;
        }
    }
    state.SetBytesProcessed(static_cast<std::int64_t>(kBytes) *
                            static_cast<std::int64_t>(state.iterations()));
    ::munmap(here.mappings[0].data(), kBytes);
    ::munmap(there.mappings[0].data(), kBytes);
}
BENCHMARK(loopback)
    ->Arg(1)
    ->Arg(2)
    ->Arg(4)
    ->Arg(8)
    ->ArgName("connections")
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hako::migration

BENCHMARK_MAIN();
