// The io engine: one thread, one io_uring, any number of devices.
#pragma once

#include <liburing.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "vmm/base/eventfd.h"
#include "vmm/base/log.h"
#include "vmm/base/result.h"

namespace hako::io {

class EventWatch;

/// Takes the completions of an SQE. Whoever prepares the SQE preallocates it and keeps it until the last one.
class Completion {
  public:
    /// Called on the io thread. `result`: the CQE's res (a count, or -errno); `flags`: its IORING_CQE_F_
    /// bits.
    virtual void complete(std::int32_t result, std::uint32_t flags) = 0;
    virtual ~Completion() = default;
};

/// Work done once at the end of a wake-up, however many completions asked for it: what makes batches.
class BatchWork {
  public:
    /// Called on the io thread. Bounded: work that remains is scheduled again.
    virtual void run_batch() = 0;
    virtual ~BatchWork() = default;

  private:
    friend class Engine;
    BatchWork* next_ = nullptr;
    bool scheduled_ = false;
};

/// A file as SQEs name it: a descriptor, or a slot of the ring's registered files.
struct FileRef {
    int fd = -1;  ///< descriptor or slot, for sqe->fd
    bool registered = false;

    /// To be or-ed into sqe->flags.
    [[nodiscard]] std::uint8_t sqe_flags() const {
        return registered ? std::uint8_t{IOSQE_FIXED_FILE} : std::uint8_t{0};
    }
};

struct EngineConfig {
    unsigned index = 0;               ///< the thread is named _disk_net_io<index>
    std::uint32_t sq_entries = 256;   ///< SQEs between two system calls; more submit early
    std::uint32_t cq_entries = 4096;  ///< CQEs the ring holds; beyond that the kernel keeps them in a list
    std::uint32_t files = 64;         ///< registered-file slots; later files go by descriptor
    unsigned kernel_workers =
        8;  ///< io-wq threads for operations that block in the kernel (fsync, fallocate)
};

/// How long schedule_soon() waits: some requests' time on a fast disk, and little beside a slow one's.
inline constexpr std::chrono::microseconds kMoment{50};

/// What an engine did so far. For metrics, benchmarks and tests.
struct EngineCounters {
    std::uint64_t wakeups = 0;        ///< rounds of the loop
    std::uint64_t enters = 0;         ///< io_uring_enter(2) calls, early ones included
    std::uint64_t early_submits = 0;  ///< of them because the submission queue was full, or submit_now()
    std::uint64_t sqes = 0;
    std::uint64_t cqes = 0;
};

/// One thread, io<N>, that owns an io_uring; its loop is one io_uring_submit_and_wait() per wake-up.
///
/// Each round: completions go to their Completion, then every scheduled BatchWork runs once, then all SQEs
/// that both prepared are submitted by the system call that waits for the next completions.
/// Devices must be gone before their engine.
class Engine {
  public:
    /// Starts the thread. An error says why io_uring cannot be had and what to do.
    static Result<std::unique_ptr<Engine>> create(const EngineConfig& config = {});
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    ~Engine();

    // From any thread.

    /// Calls `work()` on the io thread and returns what it returned. Control path only: it locks and waits.
    template <typename Work>
    std::invoke_result_t<Work&> run_sync(Work&& work) {
        using Value = std::invoke_result_t<Work&>;
        if constexpr (std::is_void_v<Value>) {
            const auto call = [](void* context) {
                (*static_cast<std::remove_reference_t<Work>*>(context))();
            };
            run_job(call, const_cast<void*>(static_cast<const void*>(std::addressof(work))));
        } else {
            std::optional<Value> value;
            const auto fill = [&] { value.emplace(work()); };
            run_sync(fill);
            return std::move(*value);
        }
    }
    [[nodiscard]] EngineCounters counters() const;
    [[nodiscard]] bool on_thread() const { return std::this_thread::get_id() == thread_id_; }
    /// IORING_SETUP_ flags that the kernel took.
    [[nodiscard]] std::uint32_t setup_flags() const { return setup_flags_; }

    // From the io thread only.

    /// A fresh SQE whose completions go to `completion` (null: nobody). Never fails: a full queue is
    /// submitted. Fill it with io_uring_prep_*(), then or its flags in.
    [[nodiscard]] io_uring_sqe& prepare(Completion* completion);
    /// Runs `work` once at the end of this round (of the next one, when called from run_batch()).
    void schedule(BatchWork& work);
    /// Runs `work` once after the next completion, of whatever it is, or in `kMoment` if there is none. For
    /// who expects something from its completions soon, and costs no system call while they come.
    void schedule_soon(BatchWork& work);
    /// This round began because nothing had happened for `kMoment`.
    [[nodiscard]] bool moment_passed() const { return moment_passed_; }
    /// Forgets a schedule(), before the work goes away.
    void unschedule(BatchWork& work);
    /// Adds 1 to an eventfd with the next submission; nobody hears of its completion.
    void signal(int eventfd);
    /// Submits what is prepared now instead of at the end of the round.
    void submit_now();
    /// Registers a file with the ring, or refers to it by descriptor when there is no slot.
    /// Not for requests that may wait long (polls, sockets, taps): until one of them is done, the kernel
    /// keeps every file open that is unregistered after it was submitted.
    [[nodiscard]] FileRef register_file(int fd);
    void unregister_file(const FileRef& file);

  private:
    struct Job {
        void (*run)(void*);
        void* context;
        bool done = false;
    };
    /// A single-writer counter, read from anywhere.
    class Counter {
      public:
        void add(std::uint64_t n) { value_.store(get() + n, std::memory_order_relaxed); }
        [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

      private:
        std::atomic<std::uint64_t> value_{0};
    };
    /// Runs the jobs of other threads.
    class Jobs final : public BatchWork {
      public:
        explicit Jobs(Engine& engine) : engine_(engine) {}
        void run_batch() override { engine_.run_jobs(); }

      private:
        Engine& engine_;
    };

    Engine(const EngineConfig& config, EventFd wake);
    void thread_main();
    Result<> set_up_ring();
    void loop();
    void add_scheduled(BatchWork& work);
    void enter();
    void count_submitted(int submitted, unsigned ready);
    void dispatch();
    void run_scheduled();
    void run_job(void (*run)(void*), void* context);
    void run_jobs();

    const EngineConfig config_;
    const EventFd wake_;
    io_uring ring_{};
    std::uint32_t setup_flags_ = 0;
    bool skip_success_ = false;
    std::vector<bool> file_slots_;    ///< taken
    BatchWork* scheduled_ = nullptr;  ///< for the end of this round
    bool in_haste_ = false;           ///< of what is scheduled something is not to wait for a completion
    BatchWork* running_ = nullptr;    ///< not run yet, while the end of a round is under way
    bool moment_passed_ = false;
    Jobs jobs_work_{*this};
    std::unique_ptr<EventWatch> wake_watch_;
    bool stopping_ = false;

    Counter wakeups_;
    Counter enters_;
    Counter early_submits_;
    Counter sqes_;
    Counter cqes_;
    LogLimit submit_errors_;

    std::mutex jobs_mutex_;
    std::condition_variable jobs_done_;
    std::vector<Job*> jobs_;
    std::optional<Result<>> set_up_;  ///< how set_up_ring() went; under jobs_mutex_ too

    std::thread thread_;
    std::thread::id thread_id_;
};

}  // namespace hako::io
