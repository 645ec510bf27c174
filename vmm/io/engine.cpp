#include "vmm/io/engine.h"

#include <pthread.h>
#include <signal.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <system_error>

#include "vmm/base/log.h"
#include "vmm/io/event_watch.h"

namespace hako::io {
namespace {

// Newest first; a kernel that does not know a flag answers EINVAL.
constexpr std::array<std::uint32_t, 4> kSetupFlags = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
        IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    0,
};

// IORING_OP_WRITE to an eventfd reads its 8 bytes from here.
constexpr std::uint64_t kOne = 1;

/// Why io_uring cannot be had, and what to do about it.
Error explain_setup_error(int error) {
    if (error == EPERM || error == EACCES || error == ENOSYS) {
        int disabled = 0;
        std::ifstream("/proc/sys/kernel/io_uring_disabled") >> disabled;
        if (disabled != 0)
            return Error(Fault::kHost,
                         fmt::format("io_uring is switched off on this host (kernel.io_uring_disabled = {}): "
                                     "sysctl -w kernel.io_uring_disabled=0",
                                     disabled));
        utsname name{};
        ::uname(&name);
        return Error(
            Fault::kHost,
            fmt::format(
                "io_uring is refused, {} on Linux {}: allow io_uring_setup, io_uring_enter and "
                "io_uring_register in the seccomp profile of the container, or use Linux 6.1 or later",
                errno_text(error), static_cast<const char*>(name.release)));
    }
    if (error == ENOMEM)
        return Error(Fault::kHost, "no memory for an io_uring: raise the limit of locked memory (ulimit -l)");
    if (error == EMFILE || error == ENFILE)
        return Error(Fault::kHost,
                     "no file descriptor for an io_uring: raise the limit of open files (ulimit -n)");
    return Error(Fault::kHost, errno_text(error)).wrap("cannot set up an io_uring");
}

}  // namespace

Engine::Engine(const EngineConfig& config, EventFd wake) : config_(config), wake_(std::move(wake)) {}

Result<std::unique_ptr<Engine>> Engine::create(const EngineConfig& config) {
    std::unique_ptr<Engine> engine(new Engine(config, HAKO_TRY(EventFd::create())));

    // The ring belongs to the thread that sets it up (SINGLE_ISSUER), so the thread comes first.
    // Signals are for the control thread: one here would cut a wait short.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    try {
        engine->thread_ = std::thread([&self = *engine] { self.thread_main(); });
    } catch (const std::system_error& failure) {
        error = failure.code().value();
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error != 0) return fail_errno(error, "cannot start the thread io{}", config.index);
    engine->thread_id_ = engine->thread_.get_id();

    std::unique_lock lock(engine->jobs_mutex_);
    engine->jobs_done_.wait(lock, [&] { return engine->set_up_.has_value(); });
    if (*engine->set_up_) return engine;
    lock.unlock();
    engine->thread_.join();
    return std::unexpected(std::move(*engine->set_up_).error());
}

void Engine::thread_main() {
    // libvirt pins threads whose names begin with _disk or _net as I/O threads, others as the emulator's.
    ::pthread_setname_np(::pthread_self(), fmt::format("_disk_net_io{}", config_.index).c_str());
    Result<> set_up = set_up_ring();
    const bool good = set_up.has_value();
    {
        const std::scoped_lock lock(jobs_mutex_);
        set_up_ = std::move(set_up);
    }
    jobs_done_.notify_all();
    if (good) loop();
}

Engine::~Engine() {
    if (!thread_.joinable()) return;
    run_sync([this] {
        stopping_ = true;
        wake_watch_->stop();
    });
    thread_.join();
}

Result<> Engine::set_up_ring() {
    int error = EINVAL;
    io_uring_params params{};
    for (const std::uint32_t flags : kSetupFlags) {
        params = {};
        params.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
        params.cq_entries = config_.cq_entries;
        error = -io_uring_queue_init_params(config_.sq_entries, &ring_, &params);
        setup_flags_ = flags;
        if (error != EINVAL) break;
    }
    if (error != 0) return std::unexpected(explain_setup_error(error));
    if ((params.features & IORING_FEAT_NODROP) == 0 || (params.features & IORING_FEAT_SUBMIT_STABLE) == 0) {
        io_uring_queue_exit(&ring_);
        return fail_host(
            "this kernel's io_uring is too old (it may drop completions): use Linux 6.1 or later");
    }
    skip_success_ = (params.features & IORING_FEAT_CQE_SKIP) != 0;
    // Savings, all three; each kernel that lacks one does without.
    io_uring_register_ring_fd(&ring_);
    if (io_uring_register_files_sparse(&ring_, config_.files) == 0) file_slots_.resize(config_.files);
    std::array<unsigned, 2> workers = {config_.kernel_workers, config_.kernel_workers};
    io_uring_register_iowq_max_workers(&ring_, workers.data());
    return {};
}

void Engine::loop() {
    wake_watch_ = std::make_unique<EventWatch>(*this, jobs_work_);
    wake_watch_->start(wake_.fd());
    while (!stopping_ || wake_watch_->active()) {
        enter();
        wakeups_.add(1);
        dispatch();
        run_scheduled();
    }
    // Linux 6.1 would keep what was unregistered open for up to a second, and its file systems busy.
    if (!file_slots_.empty()) io_uring_unregister_files(&ring_);
    io_uring_queue_exit(&ring_);
}

void Engine::enter() {
    const unsigned ready = io_uring_sq_ready(&ring_);
    enters_.add(1);
    int submitted = 0;
    moment_passed_ = false;
    if (scheduled_ == nullptr) {
        submitted = io_uring_submit_and_wait(&ring_, 1);
    } else if (in_haste_) {
        submitted = io_uring_submit_and_get_events(&ring_);
    } else {
        __kernel_timespec moment{.tv_sec = 0, .tv_nsec = std::chrono::nanoseconds(kMoment).count()};
        io_uring_cqe* first = nullptr;
        submitted = io_uring_submit_and_wait_timeout(&ring_, &first, 1, &moment, nullptr);
        moment_passed_ = io_uring_cq_ready(&ring_) == 0;
    }
    count_submitted(submitted, ready);
}

void Engine::count_submitted(int submitted, unsigned ready) {
    if (submitted > 0) sqes_.add(std::min(static_cast<unsigned>(submitted), ready));
    // SQEs that were not taken (the kernel is short of memory) stay in the queue for the next call.
    if (submitted < 0 && submitted != -EINTR && submitted != -ETIME)
        submit_errors_.warn("io_uring: {}", errno_text(-submitted));
}

void Engine::dispatch() {
    // Only those here now: a device that answers quickly must not keep the others waiting.
    for (unsigned left = io_uring_cq_ready(&ring_); left > 0; --left) {
        io_uring_cqe* entry = nullptr;
        if (io_uring_peek_cqe(&ring_, &entry) != 0) break;
        auto* completion = static_cast<Completion*>(io_uring_cqe_get_data(entry));
        const std::int32_t result = entry->res;
        const std::uint32_t flags = entry->flags;
        io_uring_cqe_seen(&ring_, entry);
        cqes_.add(1);
        if (completion != nullptr) completion->complete(result, flags);
    }
}

void Engine::run_scheduled() {
    // Work that schedules itself again goes to the next round.
    running_ = std::exchange(scheduled_, nullptr);
    in_haste_ = false;
    while (running_ != nullptr) {
        BatchWork& work = *running_;
        running_ = std::exchange(work.next_, nullptr);
        work.scheduled_ = false;
        work.run_batch();
    }
}

io_uring_sqe& Engine::prepare(Completion* completion) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    while (entry == nullptr) {
        submit_now();
        entry = io_uring_get_sqe(&ring_);
    }
    io_uring_sqe_set_data(entry, completion);
    return *entry;
}

void Engine::submit_now() {
    const unsigned ready = io_uring_sq_ready(&ring_);
    if (ready == 0) return;
    enters_.add(1);
    early_submits_.add(1);
    count_submitted(io_uring_submit(&ring_), ready);
}

void Engine::schedule(BatchWork& work) {
    in_haste_ = true;
    add_scheduled(work);
}

void Engine::schedule_soon(BatchWork& work) {
    add_scheduled(work);
}

void Engine::add_scheduled(BatchWork& work) {
    if (work.scheduled_) return;
    work.scheduled_ = true;
    work.next_ = std::exchange(scheduled_, &work);
}

void Engine::unschedule(BatchWork& work) {
    for (BatchWork** list : {&scheduled_, &running_}) {
        for (BatchWork** link = list; *link != nullptr; link = &(*link)->next_) {
            if (*link != &work) continue;
            *link = std::exchange(work.next_, nullptr);
            work.scheduled_ = false;
            return;
        }
    }
}

void Engine::signal(int eventfd) {
    io_uring_sqe& entry = prepare(nullptr);
    io_uring_prep_write(&entry, eventfd, &kOne, sizeof kOne, 0);
    if (skip_success_) entry.flags |= IOSQE_CQE_SKIP_SUCCESS;
}

FileRef Engine::register_file(int fd) {
    for (std::size_t slot = 0; slot < file_slots_.size(); ++slot) {
        if (file_slots_[slot]) continue;
        if (io_uring_register_files_update(&ring_, static_cast<unsigned>(slot), &fd, 1) != 1) break;
        file_slots_[slot] = true;
        return {.fd = static_cast<int>(slot), .registered = true};
    }
    return {.fd = fd, .registered = false};
}

void Engine::unregister_file(const FileRef& file) {
    if (!file.registered) return;
    int none = -1;
    io_uring_register_files_update(&ring_, static_cast<unsigned>(file.fd), &none, 1);
    file_slots_[static_cast<std::size_t>(file.fd)] = false;
}

void Engine::run_job(void (*run)(void*), void* context) {
    if (on_thread()) {
        run(context);
        return;
    }
    Job job{.run = run, .context = context};
    std::unique_lock lock(jobs_mutex_);
    jobs_.push_back(&job);
    wake_.signal();
    jobs_done_.wait(lock, [&] { return job.done; });
}

void Engine::run_jobs() {
    std::vector<Job*> jobs;
    {
        const std::scoped_lock lock(jobs_mutex_);
        jobs.swap(jobs_);
    }
    if (jobs.empty()) return;
    for (Job* job : jobs)
        job->run(job->context);
    {
        const std::scoped_lock lock(jobs_mutex_);
        for (Job* job : jobs)
            job->done = true;
    }
    jobs_done_.notify_all();
}

EngineCounters Engine::counters() const {
    return {.wakeups = wakeups_.get(),
            .enters = enters_.get(),
            .early_submits = early_submits_.get(),
            .sqes = sqes_.get(),
            .cqes = cqes_.get()};
}

}  // namespace hako::io
