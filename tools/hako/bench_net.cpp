#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <optional>
#include <thread>

#include "tools/hako/bench.h"
#include "tools/hako/bench_contest.h"
#include "tools/hako/bench_link.h"
#include "tools/hako/bench_net_jobs.h"
#include "tools/hako/bench_vmm.h"

namespace hako::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{60};
/// From the first packet until what a job does has settled.
constexpr std::chrono::seconds kWarmUp{1};
/// How often is looked for the first packet.
constexpr std::chrono::milliseconds kGlance{50};
constexpr double kBytesPerMiB = 1 << 20;

/// A guest alone on a network of four addresses with the host.
struct NetGuest {
    Guest guest;
    std::string tap;
    std::string host_address;
    std::string guest_address;

    Result<> connect() {
        HAKO_TRY(set_address(tap, host_address));
        const std::string script = fmt::format(
            "for i in /sys/class/net/*; do [ \"$(cat $i/type)\" = 1 ] && net=${{i##*/}}; done; "
            "ip address add {}/30 dev $net && ip link set $net up && "
            "for i in 1 2 3 4 5 6 7 8 9 10; do ping -q -c 1 -W 2 {} >/dev/null && break; done",
            guest_address, host_address);
        HAKO_TRY(guest.run(script, kPatience));
        return {};
    }

    Result<Figures> run(const Command& command, const NetJob& job, bool counting) {
        std::optional<Child> server;
        if (job.iperf) server.emplace(HAKO_TRY(start_server()));
        std::string program(job.program);
        program.replace(program.find("HOST"), 4, host_address);
        const std::uint64_t before = HAKO_TRY(passed(tap, job.direction, job.quantity));
        HAKO_TRY(guest.run(fmt::format("{} >/tmp/job.log 2>&1 & job=$!", program), kPatience));
        HAKO_TRY(wait_for_traffic(job, before));
        const Figures figures = HAKO_TRY(look(command, job, counting));
        HAKO_TRY(guest.run("kill $job; wait $job 2>/dev/null; true", kPatience));
        return figures;
    }

  private:
    Result<Child> start_server() {
        Child server = HAKO_TRY(
            Child::start({"iperf3", "--server", "--one-off", "--forceflush", "--bind", host_address}));
        const auto deadline = Clock::now() + kPatience;
        std::string output;
        while (output.find("listening") == std::string::npos) {
            if (!HAKO_TRY(server.read(output, deadline)))
                return fail_host("iperf3 does not listen on {}: {}", host_address, server.last_words());
        }
        return server;
    }

    /// More than the packets that arrange the job.
    Result<> wait_for_traffic(const NetJob& job, std::uint64_t before) {
        const std::uint64_t first = before + (job.quantity == Quantity::kBytes ? 100'000 : 100);
        const auto deadline = Clock::now() + kPatience;
        while (HAKO_TRY(passed(tap, job.direction, job.quantity)) < first) {
            if (Clock::now() > deadline) {
                const std::string log = HAKO_TRY(guest.run("cat /tmp/job.log", kPatience));
                return fail_host("{}: nothing passes: {}", guest.name(), log);
            }
            std::this_thread::sleep_for(kGlance);
        }
        std::this_thread::sleep_for(kWarmUp);
        return {};
    }

    Result<Figures> look(const Command& command, const NetJob& job, bool counting) {
        const Meter meter = Meter::start(guest.pid(), counting);
        const Sample begin = HAKO_TRY(meter.sample());
        const std::uint64_t first = HAKO_TRY(passed(tap, job.direction, job.quantity));
        std::this_thread::sleep_for(std::chrono::seconds(command.seconds));
        const Sample end = HAKO_TRY(meter.sample());
        const std::uint64_t last = HAKO_TRY(passed(tap, job.direction, job.quantity));
        if (last <= first) return fail_host("{}: nothing passes any more", guest.name());
        const double units =
            static_cast<double>(last - first) / (job.quantity == Quantity::kBytes ? kBytesPerMiB : 1.0);
        return figures_between(begin, end, units, std::chrono::duration<double>(end.at - begin.at).count());
    }
};

/// Everyone that takes part: hako and, perhaps, QEMU, without vhost-net and with it.
struct Field {
    std::vector<std::unique_ptr<NetGuest>> guests;

    Result<> add(const Command& command, bool qemu, bool vhost) {
        const std::size_t number = guests.size();
        const Hardware hardware{
            .disk = {}, .tap = fmt::format("hakob{}-{}", ::getpid(), number), .vhost = vhost};
        const auto words =
            qemu ? qemu_words(command, hardware) : hako_words("/proc/self/exe", command, hardware);
        // 198.18.0.0/15 is set aside for benchmarks (RFC 2544).
        guests.push_back(std::make_unique<NetGuest>(
            NetGuest{.guest = HAKO_TRY(Guest::start(
                         fmt::format("{}{}", qemu ? "QEMU" : "hako", vhost ? " with vhost" : ""), words)),
                     .tap = hardware.tap,
                     .host_address = fmt::format("198.18.0.{}", 4 * number + 1),
                     .guest_address = fmt::format("198.18.0.{}", 4 * number + 2)}));
        return {};
    }
};

}  // namespace

Result<std::vector<Row>> measure_net(const Command& command) {
    const bool peer = !command.peer.empty();
    Field field;
    for (const bool vhost : {false, true}) {
        HAKO_TRY(field.add(command, false, vhost));
        if (peer) HAKO_TRY(field.add(command, true, vhost));
    }
    std::vector<Guest*> shells;
    for (const auto& one : field.guests)
        shells.push_back(&one->guest);
    HAKO_TRY(wait_for_shells(shells));
    for (const auto& one : field.guests)
        HAKO_TRY(one->connect());

    std::vector<Row> rows;
    for (const NetJob& job : net_jobs()) {
        if (!wanted(command, job.name)) continue;
        std::vector<Contestant> contestants;
        for (const auto& one : field.guests)
            contestants.push_back(
                {.name = one->guest.name(), .run = [&command, &job, who = one.get()](bool counting) {
                     return who->run(command, job, counting);
                 }});
        const auto rounds = HAKO_TRY(hold(command, job.name, std::move(contestants)));
        const std::size_t step = peer ? 2 : 1;
        for (const std::size_t vhost : {0U, 1U})
            rows.push_back(make_row(fmt::format("{}{}", job.name, vhost == 0 ? "" : "/vhost"),
                                    job.quantity == Quantity::kBytes ? "MiB" : "packet", rounds[vhost * step],
                                    peer ? rounds[vhost * step + 1] : std::vector<Figures>{}, {}));
    }
    return rows;
}

}  // namespace hako::bench
