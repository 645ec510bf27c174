#include <fmt/core.h>

#include <optional>

#include "tools/hako/bench.h"
#include "tools/hako/bench_contest.h"
#include "tools/hako/bench_files.h"
#include "tools/hako/bench_fio.h"
#include "tools/hako/bench_fio_guest.h"
#include "tools/hako/bench_vmm.h"

namespace hako::bench {
namespace {

constexpr std::chrono::seconds kPatience{60};

constexpr std::string_view kFindDisk =
    "for d in /sys/block/vd*; do [ \"$(cat $d/serial)\" = bench ] && echo /dev/${d##*/}; done; true";

std::string trimmed(std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' '))
        text.remove_suffix(1);
    return std::string(text.substr(text.find_last_of('\n') + 1));
}

/// A guest and the name of the disk under test in it.
struct DiskGuest {
    Guest guest;
    std::string device = {};

    Result<> find_disk() {
        device = trimmed(HAKO_TRY(guest.run(kFindDisk, kPatience)));
        if (!device.starts_with("/dev/vd") || device.find(' ') != std::string::npos)
            return fail_host("{}: the guest does not find the disk under test", guest.name());
        return {};
    }

    Result<Figures> run(const Command& command, const FioJob& job, bool counting) {
        return run_fio(guest, command, fio_words(job, device, command.seconds), counting);
    }
};

Result<Figures> run_on_host(const Command& command, const FioJob& job, const std::string& file) {
    const auto deadline = Child::Deadline::clock::now() + fio_limit(command);
    const std::string output = HAKO_TRY(run_program(fio_words(job, file, command.seconds), deadline));
    const auto result = parse_fio(output);
    if (!result) return fail_host("fio on the host gave no figures: {}", output);
    return Figures{.rate = result->requests / result->seconds,
                   .cpu = {},
                   .overhead = {},
                   .system_calls = {},
                   .exits = {}};
}

}  // namespace

Result<std::vector<Row>> measure_blk(const Command& command) {
    const Folder folder = HAKO_TRY(Folder::make(command.directory));
    const std::string host_file = HAKO_TRY(folder.make_file("host.img", command.file_size));
    const std::string hako_file = HAKO_TRY(folder.make_file("hako.img", command.file_size));
    DiskGuest hako{.guest = HAKO_TRY(Guest::start(
                       "hako", hako_words("/proc/self/exe", command, {.disk = hako_file, .tap = {}})))};
    std::optional<DiskGuest> peer;
    std::vector<Guest*> guests = {&hako.guest};
    if (!command.peer.empty()) {
        const std::string file = HAKO_TRY(folder.make_file("qemu.img", command.file_size));
        peer.emplace(DiskGuest{
            .guest = HAKO_TRY(Guest::start("QEMU", qemu_words(command, {.disk = file, .tap = {}})))});
        guests.push_back(&peer->guest);
    }
    HAKO_TRY(wait_for_shells(guests));
    HAKO_TRY(hako.find_disk());
    if (peer) HAKO_TRY(peer->find_disk());

    std::vector<Row> rows;
    for (const FioJob& job : fio_jobs()) {
        if (!wanted(command, job.name)) continue;
        std::vector<Contestant> contestants;
        contestants.push_back(
            {.name = "hako", .run = [&](bool counting) { return hako.run(command, job, counting); }});
        contestants.push_back({.name = "host",
                               .run = [&](bool) { return run_on_host(command, job, host_file); },
                               .counts = false});
        if (peer)
            contestants.push_back(
                {.name = "QEMU", .run = [&](bool counting) { return peer->run(command, job, counting); }});
        const auto rounds = HAKO_TRY(hold(command, job.name, std::move(contestants)));
        rows.push_back(make_row(std::string(job.name), "request", rounds[0],
                                peer ? rounds[2] : std::vector<Figures>{}, rounds[1]));
    }
    return rows;
}

}  // namespace hako::bench
