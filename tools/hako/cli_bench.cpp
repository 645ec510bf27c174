#include "tools/hako/cli_bench.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "tools/hako/bench_fio.h"
#include "tools/hako/bench_fs_jobs.h"
#include "tools/hako/bench_net_jobs.h"
#include "tools/hako/bench_vsock_jobs.h"
#include "tools/hako/cli_memory.h"
#include "tools/hako/cli_nearest.h"
#include "tools/hako/cli_values.h"
#include "vmm/base/units.h"
#include "vmm/machine/config.h"

namespace hako::cli {
namespace {

constexpr std::uint64_t kMaxRounds = 100;
constexpr std::uint64_t kMaxSeconds = 3600;
/// fio's blocks of a MiB have some places to go to.
constexpr std::uint64_t kMinFile = 16 * MiB;

struct Subject {
    std::string_view name;
    bench::Subject subject;
};
constexpr std::array<Subject, 4> kSubjects = {{{"blk", bench::Subject::kBlk},
                                               {"net", bench::Subject::kNet},
                                               {"vsock", bench::Subject::kVsock},
                                               {"fs", bench::Subject::kFs}}};

std::vector<std::string_view> job_names(bench::Subject subject) {
    std::vector<std::string_view> names;
    const auto add = [&names](const auto& jobs) {
        for (const auto& job : jobs)
            names.push_back(job.name);
    };
    switch (subject) {
        case bench::Subject::kBlk:
            add(bench::fio_jobs());
            break;
        case bench::Subject::kNet:
            add(bench::net_jobs());
            break;
        case bench::Subject::kVsock:
            add(bench::vsock_jobs());
            break;
        case bench::Subject::kFs:
            add(bench::fs_jobs());
            break;
    }
    return names;
}

Result<> read_count(const char* name, const App::Values& values, std::uint64_t max, std::uint32_t& count) {
    std::uint64_t wide = count;
    HAKO_TRY(read_number(name, values, 1, max, wide));
    count = static_cast<std::uint32_t>(wide);
    return {};
}

Result<> read_jobs(const App& app, bench::Command& command) {
    const auto names = job_names(command.subject);
    for (const std::string& job : app.job) {
        if (std::find(names.begin(), names.end(), job) == names.end())
            return fail_input("--job {}: no such job{} (there are {})", job, did_you_mean(job, names),
                              fmt::join(names, ", "));
        command.jobs.push_back(job);
    }
    return {};
}

}  // namespace

Result<bench::Command> bench_command(const App& app) {
    bench::Command command;
    const std::string* subject = HAKO_TRY(single("bench", app.subject));
    if (subject == nullptr) return fail_input("bench: of what? blk, net, vsock or fs");
    const auto* const known = std::ranges::find(kSubjects, *subject, &Subject::name);
    if (known == kSubjects.end()) return fail_input("bench {}: must be blk, net, vsock or fs", *subject);
    command.subject = known->subject;

    HAKO_TRY(read_text("--kernel", app.kernel, command.kernel));
    HAKO_TRY(read_text("--initrd", app.initrd, command.initrd));
    HAKO_TRY(read_text("--cmdline", app.cmdline, command.command_line));
    HAKO_TRY(read_text("--image", app.image, command.image));
    HAKO_TRY(read_text("--peer", app.peer, command.peer));
    HAKO_TRY(read_text("--directory", app.directory, command.directory));
    HAKO_TRY(read_text("--daemon", app.daemon, command.daemon));
    HAKO_TRY(read_count("--cpus", app.cpus, kMaxVcpus, command.cpus));
    HAKO_TRY(read_count("--rounds", app.rounds, kMaxRounds, command.rounds));
    HAKO_TRY(read_count("--seconds", app.seconds, kMaxSeconds, command.seconds));
    if (const std::string* value = HAKO_TRY(single("--memory", app.memory)))
        command.memory = HAKO_TRY(parse_memory(*value)).size;
    if (const std::string* value = HAKO_TRY(single("--size", app.size))) {
        const auto size = parse_size(*value);
        if (!size || *size < kMinFile || *size % MiB != 0)
            return fail_input("--size {}: must be a size of whole MiB from {}", *value,
                              format_size(kMinFile));
        command.file_size = *size;
    }
    HAKO_TRY(read_jobs(app, command));
    command.json = app.json;
    command.verbose = app.verbosity > 0;
    if (command.kernel.empty())
        return fail_input("--kernel is missing: the guests' kernel; see `hako bench --help`");
    return command;
}

}  // namespace hako::cli
