#include "tools/hako/doctor_io_uring.h"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <liburing.h>
#include <poll.h>

#include <cerrno>
#include <string_view>
#include <vector>

#include "tools/hako/doctor_file.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/result.h"

namespace hako::doctor {
namespace {

constexpr unsigned kEntries = 8;

/// A ring that is set up on construction and torn down with it.
class Ring {
  public:
    explicit Ring(unsigned flags) {
        io_uring_params params{};
        params.flags = flags;
        error_ = -io_uring_queue_init_params(kEntries, &ring_, &params);
        features_ = params.features;
    }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    ~Ring() {
        if (error_ == 0) io_uring_queue_exit(&ring_);
    }

    /// errno of the set-up, or 0.
    [[nodiscard]] int error() const { return error_; }
    [[nodiscard]] unsigned features() const { return features_; }
    [[nodiscard]] io_uring* get() { return &ring_; }

  private:
    io_uring ring_{};
    int error_ = 0;
    unsigned features_ = 0;
};

/// Polls an eventfd once and signals it twice.
bool multishot_poll_works(io_uring* ring) {
    const auto event = EventFd::create();
    if (!event) return false;
    io_uring_prep_poll_multishot(io_uring_get_sqe(ring), event->fd(), POLLIN);
    if (io_uring_submit(ring) != 1) return false;
    for (int i = 0; i < 2; ++i) {
        event->signal();
        io_uring_cqe* entry = nullptr;
        __kernel_timespec limit{.tv_sec = 1, .tv_nsec = 0};
        if (io_uring_wait_cqe_timeout(ring, &entry, &limit) != 0) return false;
        const bool more = entry->res > 0 && (entry->flags & IORING_CQE_F_MORE) != 0;
        io_uring_cqe_seen(ring, entry);
        event->take();
        if (!more) return false;
    }
    return true;
}

}  // namespace

IoUringProbe probe_io_uring() {
    IoUringProbe probe;
    probe.disabled = read_number("/proc/sys/kernel/io_uring_disabled");
    Ring plain(0);
    probe.setup_error = plain.error();
    if (probe.setup_error != 0) return probe;
    constexpr unsigned kFeatures = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE;
    probe.required_features = (plain.features() & kFeatures) == kFeatures;
    probe.required_flags = Ring(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL).error() == 0;
    probe.single_issuer = Ring(IORING_SETUP_SINGLE_ISSUER).error() == 0;
    probe.defer_taskrun = Ring(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN).error() == 0;
    probe.multishot_poll = multishot_poll_works(plain.get());
    probe.registered_files = io_uring_register_files_sparse(plain.get(), kEntries) == 0;
    return probe;
}

Check judge_io_uring(const IoUringProbe& probe) {
    Check check{.name = "io_uring", .status = Status::kFail, .found = {}, .advice = {}};
    if (probe.setup_error != 0) {
        check.found = fmt::format("refused: {}", errno_text(probe.setup_error));
        if (probe.setup_error == EPERM && probe.disabled.value_or(0) != 0) {
            check.found += fmt::format(", kernel.io_uring_disabled = {}", *probe.disabled);
            check.advice = "as root: sysctl -w kernel.io_uring_disabled=0";
            if (*probe.disabled == 1) check.advice += ", or put this user's group into kernel.io_uring_group";
        } else if (probe.setup_error == EPERM || probe.setup_error == EACCES) {
            check.advice =
                "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile of the "
                "container";
        } else if (probe.setup_error == ENOMEM) {
            check.advice = "raise the locked memory limit: ulimit -l unlimited";
        } else {
            check.advice = "use Linux 6.1 or later, built with CONFIG_IO_URING";
        }
        return check;
    }
    if (!probe.required_flags || !probe.required_features) {
        check.found = fmt::format("works, without {}", !probe.required_flags ? "COOP_TASKRUN and SUBMIT_ALL"
                                                                             : "NODROP and SUBMIT_STABLE");
        check.advice = "use Linux 6.1 or later";
        return check;
    }
    std::vector<std::string_view> present;
    std::vector<std::string_view> missing;
    const auto sort = [&](bool there, std::string_view name) { (there ? present : missing).push_back(name); };
    sort(probe.single_issuer, "SINGLE_ISSUER");
    sort(probe.defer_taskrun, "DEFER_TASKRUN");
    sort(probe.multishot_poll, "multishot poll");
    sort(probe.registered_files, "registered files");
    if (missing.empty()) {
        check.status = Status::kOk;
        check.found = fmt::format("works, with {}", fmt::join(present, ", "));
    } else {
        check.status = Status::kWarn;
        check.found = fmt::format("works, without {}", fmt::join(missing, ", "));
        check.advice = "disks work, at more cost for each request; Linux 6.1 or later has all of it";
    }
    return check;
}

}  // namespace hako::doctor
