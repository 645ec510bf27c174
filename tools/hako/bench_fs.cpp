#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "tools/hako/bench.h"
#include "tools/hako/bench_files.h"
#include "tools/hako/bench_fio_guest.h"
#include "tools/hako/bench_fs_jobs.h"
#include "tools/hako/bench_pair.h"
#include "tools/hako/bench_vmm.h"

namespace hako::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{60};
constexpr std::chrono::milliseconds kGlance{20};
/// For each second that a job shall take, as a guess.
constexpr std::uint32_t kFilesPerSecond = 200;
constexpr const char* kPlace = "/tmp/shared";

/// A virtiofsd that serves a folder of its own. It keeps nothing in the guest's page cache: all that the
/// guest does goes over the device.
Result<Child> start_daemon(const Command& command, const Folder& folder, const std::string& socket) {
    Child daemon =
        HAKO_TRY(Child::start({command.daemon, "--shared-dir", folder.path(), "--socket-path", socket,
                               "--cache", "never", "--sandbox", "none", "--seccomp", "none"}));
    const auto deadline = Clock::now() + kPatience;
    while (::access(socket.c_str(), F_OK) != 0) {
        std::string output;
        HAKO_TRY(daemon.read(output, Clock::now() + kGlance));
        if (daemon.ended() || Clock::now() > deadline)
            return fail_input("--daemon {}: it serves no socket: {}", command.daemon, daemon.last_words());
    }
    return daemon;
}

/// A guest with a shared directory.
struct FsGuest {
    Folder files;
    Folder sockets;
    Child daemon;
    Guest guest;

    static Result<std::unique_ptr<FsGuest>> start(const Command& command, bool qemu) {
        Folder files = HAKO_TRY(Folder::make(command.directory));
        Folder sockets = HAKO_TRY(Folder::make("/tmp"));
        const std::string socket = sockets.path() + "/fs";
        Child daemon = HAKO_TRY(start_daemon(command, files, socket));
        const auto words = qemu ? qemu_words(command, {.fs = socket})
                                : hako_words("/proc/self/exe", command, {.fs = socket});
        Guest guest = HAKO_TRY(Guest::start(qemu ? "QEMU" : "hako", words));
        HAKO_TRY(files.make_file(kLargeFile, command.file_size));
        return std::make_unique<FsGuest>(
            FsGuest{std::move(files), std::move(sockets), std::move(daemon), std::move(guest)});
    }

    Result<> mount() {
        HAKO_TRY(guest.run(fmt::format("mkdir {0} && mount -t virtiofs {1} {0}", kPlace, kFsTag), kPatience));
        return {};
    }

    Result<Figures> run(const Command& command, const FsJob& job, bool counting) {
        const std::uint32_t count = command.seconds * kFilesPerSecond;
        if (!job.engine.empty()) HAKO_TRY(renew_small_files(job.made_before ? count : 0));
        return run_fio(guest, command, fs_words(job, kPlace, command.seconds, count), counting);
    }

  private:
    /// By the host: it is faster, and nothing of it is in the guest's memory.
    Result<> renew_small_files(std::uint32_t count) {
        const std::string place = fmt::format("{}/{}", files.path(), kSmallFiles);
        std::error_code error;
        std::filesystem::remove_all(place, error);
        std::filesystem::create_directory(place, error);
        if (error) return fail_host("cannot make {}: {}", place, error.message());
        for (std::uint32_t i = 0; i < count; ++i)
            HAKO_TRY(files.make_file(fmt::format("{}/{}", kSmallFiles, small_file(i)), kSmallFile));
        return {};
    }
};

}  // namespace

Result<std::vector<Row>> measure_fs(const Command& command) {
    std::vector<std::unique_ptr<FsGuest>> guests;
    guests.push_back(HAKO_TRY(FsGuest::start(command, false)));
    if (!command.peer.empty()) guests.push_back(HAKO_TRY(FsGuest::start(command, true)));
    for (const auto& one : guests) {
        HAKO_TRY(wait_for_shells({&one->guest}));
        HAKO_TRY(one->mount());
    }
    return measure_pair(command, fs_jobs(), guests,
                        [](const FsJob& job) { return job.engine.empty() ? "request" : "file"; });
}

}  // namespace hako::bench
