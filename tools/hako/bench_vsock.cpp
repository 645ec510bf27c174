#include <fmt/core.h>

#include <memory>

#include "tools/hako/bench.h"
#include "tools/hako/bench_files.h"
#include "tools/hako/bench_pair.h"
#include "tools/hako/bench_vmm.h"
#include "tools/hako/bench_vsock_peer.h"

namespace hako::bench {
namespace {

constexpr std::chrono::seconds kPatience{60};
/// Until what a job does has settled.
constexpr std::chrono::milliseconds kWarmUp{500};
constexpr double kBytesPerMiB = 1 << 20;

struct VsockGuest {
    Guest guest;
    VsockPeer peer;

    static Result<std::unique_ptr<VsockGuest>> start(const Command& command, const std::string& socket,
                                                     bool qemu) {
        const Hardware hardware{.vsock = socket};
        const auto words =
            qemu ? qemu_words(command, hardware) : hako_words("/proc/self/exe", command, hardware);
        VsockPeer peer = HAKO_TRY(VsockPeer::listen(qemu ? "" : socket));
        return std::make_unique<VsockGuest>(
            VsockGuest{HAKO_TRY(Guest::start(qemu ? "QEMU" : "hako", words)), std::move(peer)});
    }

    Result<> find_device() {
        HAKO_TRY(
            guest.run("for i in $(seq 50); do [ -c /dev/vsock ] && break; sleep 0.2; done; [ -c /dev/vsock ]",
                      kPatience));
        return {};
    }

    Result<Figures> run(const Command& command, const VsockJob& job, bool counting) {
        std::string addresses(job.addresses);
        addresses.replace(addresses.find("HOST"), 4, fmt::format("VSOCK-CONNECT:2:{}", kVsockPort));
        HAKO_TRY(guest.run(fmt::format("socat {} >/tmp/job.log 2>&1 & job=$!", addresses), kPatience));
        const auto figures = connected(command, job, counting);
        peer.close();
        HAKO_TRY(guest.run("kill $job 2>/dev/null; wait $job 2>/dev/null; true", kPatience));
        return figures;
    }

  private:
    Result<Figures> connected(const Command& command, const VsockJob& job, bool counting) {
        HAKO_TRY(peer.accept(kPatience));
        HAKO_TRY(peer.work(job, kWarmUp));
        const Meter meter = Meter::start(guest.pid(), counting);
        const Sample begin = HAKO_TRY(meter.sample());
        const std::uint64_t done = HAKO_TRY(peer.work(job, std::chrono::seconds(command.seconds)));
        const Sample end = HAKO_TRY(meter.sample());
        const double units = static_cast<double>(done) / (job.part == VsockPart::kEcho ? 1.0 : kBytesPerMiB);
        return figures_between(begin, end, units, std::chrono::duration<double>(end.at - begin.at).count());
    }
};

}  // namespace

Result<std::vector<Row>> measure_vsock(const Command& command) {
    const Folder folder = HAKO_TRY(Folder::make("/tmp"));
    const std::string socket = folder.path() + "/vsock";
    std::vector<std::unique_ptr<VsockGuest>> guests;
    guests.push_back(HAKO_TRY(VsockGuest::start(command, socket, false)));
    if (!command.peer.empty()) guests.push_back(HAKO_TRY(VsockGuest::start(command, socket, true)));
    for (const auto& one : guests) {
        HAKO_TRY(wait_for_shells({&one->guest}));
        HAKO_TRY(one->find_device());
    }
    return measure_pair(command, vsock_jobs(), guests,
                        [](const VsockJob& job) { return job.part == VsockPart::kEcho ? "message" : "MiB"; });
}

}  // namespace hako::bench
