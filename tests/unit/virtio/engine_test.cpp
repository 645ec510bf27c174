#include "vmm/io/engine.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include "tests/unit/virtio/fake_transport.h"
#include "vmm/io/event_watch.h"

using namespace hako;
using namespace hako::io;

namespace {

std::size_t open_files() {
    const std::filesystem::directory_iterator files("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(files), end(files)));
}

/// Signals an eventfd once a number of completions or batches have come.
struct Expectation {
    explicit Expectation(int count) : left(count) {}
    void count() {
        if (left.fetch_sub(1) == 1) done.signal();
    }
    std::atomic<int> left;
    EventFd done = EventFd::create().value();
};

struct CountedOperation final : Completion {
    void complete(std::int32_t result, std::uint32_t /*flags*/) override {
        last_result = result;
        expectation->count();
    }
    Expectation* expectation = nullptr;
    std::int32_t last_result = 0;
};

struct CountedWork final : BatchWork {
    void run_batch() override {
        ++runs;
        ran.signal();
    }
    std::atomic<int> runs{0};
    EventFd ran = EventFd::create().value();
};

/// A watch on an eventfd, ended before it goes.
struct Doorbell {
    explicit Doorbell(Engine& owner) : engine(owner), watch(owner, work) {
        engine.run_sync([&] { watch.start(bell.fd()); });
    }
    ~Doorbell() {
        engine.run_sync([&] { watch.stop(); });
        while (engine.run_sync([&] { return watch.active(); })) {
        }
        engine.run_sync([&] { engine.unschedule(work); });
    }
    Engine& engine;
    EventFd bell = EventFd::create().value();
    CountedWork work;
    EventWatch watch;
};

}  // namespace

TEST_CASE("work handed to an engine runs on its own named thread, and gives its value back") {
    auto engine = Engine::create({.index = 7}).value();
    CHECK_FALSE(engine->on_thread());
    CHECK(engine->run_sync([&] { return engine->on_thread(); }));
    CHECK(engine->run_sync([&] { return engine->run_sync([] { return 5; }); }) == 5);  // from inside: at once
    const std::string name = engine->run_sync([] {
        std::string text;
        std::getline(std::ifstream("/proc/thread-self/comm"), text);
        return text;
    });
    CHECK(name == "_disk_net_io7");
}

TEST_CASE("many threads may hand in work at once") {
    auto engine = Engine::create().value();
    int sum = 0;  // the io thread's alone
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            for (int j = 0; j < 200; ++j)
                engine->run_sync([&] { ++sum; });
        });
    for (std::thread& thread : threads)
        thread.join();
    CHECK(engine->run_sync([&] { return sum; }) == 800);
}

TEST_CASE("a doorbell rings each time it is signalled, though nobody reads its counter") {
    auto engine = Engine::create().value();
    Doorbell doorbell(*engine);
    for (int i = 0; i < 100; ++i) {
        doorbell.bell.signal();
        REQUIRE(test::wait_for(doorbell.work.ran));
    }
    CHECK(doorbell.work.runs >= 100);
    CHECK(doorbell.bell.take() == 100);
}

TEST_CASE("a signal from before the watch counts") {
    auto engine = Engine::create().value();
    CountedWork work;
    const EventFd bell = EventFd::create().value();
    bell.signal();
    EventWatch watch(*engine, work);
    engine->run_sync([&] { watch.start(bell.fd()); });
    CHECK(test::wait_for(work.ran));
    engine->run_sync([&] { watch.stop(); });
    CHECK(test::wait_for(work.ran));  // its end is told as well
    CHECK_FALSE(engine->run_sync([&] { return watch.active(); }));
}

TEST_CASE("a submission queue that is full submits early and drops nothing") {
    auto engine = Engine::create({.sq_entries = 4, .cq_entries = 8}).value();
    constexpr int kCount = 1000;
    Expectation expectation(kCount);
    std::vector<CountedOperation> operations(kCount);
    engine->run_sync([&] {
        for (CountedOperation& operation : operations) {
            operation.expectation = &expectation;
            io_uring_prep_nop(&engine->prepare(&operation));
        }
    });
    CHECK(test::wait_for(expectation.done));
    const EngineCounters counters = engine->counters();
    CHECK(counters.early_submits >= kCount / 4 - 1);
    CHECK(counters.sqes >= kCount);
    CHECK(counters.cqes >= kCount);
    CHECK(engine->run_sync([] { return true; }));  // and its own doorbell has survived the flood
}

TEST_CASE("completions that do not fit into the ring end no doorbell for good") {
    auto engine = Engine::create({.sq_entries = 64, .cq_entries = 64}).value();
    Doorbell doorbell(*engine);
    constexpr int kCount = 500;
    Expectation expectation(kCount);
    std::vector<CountedOperation> operations(kCount);
    engine->run_sync([&] {
        for (CountedOperation& operation : operations) {
            operation.expectation = &expectation;
            io_uring_prep_nop(&engine->prepare(&operation));
            doorbell.bell.signal();
        }
    });
    REQUIRE(test::wait_for(expectation.done));
    REQUIRE(test::wait_for(doorbell.work.ran));
    engine->run_sync([] {});
    for (int i = 0; i < 3; ++i) {
        doorbell.work.ran.take();
        doorbell.bell.signal();
        CHECK(test::wait_for(doorbell.work.ran));
    }
}

TEST_CASE("a batch of any size costs one system call, its interrupt included") {
    auto engine = Engine::create().value();
    const EventFd interrupt = EventFd::create().value();
    constexpr int kCount = 32;
    Expectation expectation(kCount);
    std::vector<CountedOperation> operations(kCount);
    const EngineCounters before = engine->run_sync([&] {
        for (CountedOperation& operation : operations) {
            operation.expectation = &expectation;
            io_uring_prep_nop(&engine->prepare(&operation));
        }
        engine->signal(interrupt.fd());
        return engine->counters();
    });
    REQUIRE(test::wait_for(expectation.done));
    REQUIRE(test::wait_for(interrupt));
    const EngineCounters after = engine->run_sync([&] { return engine->counters(); });
    // One submits the batch, perhaps one waits, one is for the last run_sync().
    CHECK(after.enters - before.enters <= 3);
    CHECK(after.sqes - before.sqes == kCount + 1);
}

TEST_CASE("scheduled work runs once a round, and again when it asks again") {
    auto engine = Engine::create().value();
    struct Repeated final : BatchWork {
        explicit Repeated(Engine& owner) : engine(owner) {}
        void run_batch() override {
            if (++runs < 5) {
                engine.schedule(*this);
                engine.schedule(*this);
            } else {
                done.signal();
            }
        }
        Engine& engine;
        int runs = 0;
        EventFd done = EventFd::create().value();
    };
    Repeated work(*engine);
    engine->run_sync([&] { engine->schedule(work); });
    REQUIRE(test::wait_for(work.done));
    CHECK(engine->run_sync([&] { return work.runs; }) == 5);
}

TEST_CASE("unscheduled work does not run") {
    auto engine = Engine::create().value();
    CountedWork first;
    CountedWork second;
    engine->run_sync([&] {
        engine->schedule(first);
        engine->schedule(second);
        engine->unschedule(first);
    });
    CHECK(test::wait_for(second.ran));
    engine->run_sync([] {});
    CHECK(first.runs == 0);
}

TEST_CASE("registered files serve requests, and run out without harm") {
    auto engine = Engine::create({.files = 1}).value();
    Fd memory(::memfd_create("file", MFD_CLOEXEC));
    REQUIRE(::write(memory.get(), "hako", 4) == 4);
    std::optional<bool> registered;
    for (int round = 0; round < 2; ++round) {
        const FileRef first = engine->run_sync([&] { return engine->register_file(memory.get()); });
        const FileRef second = engine->run_sync([&] { return engine->register_file(memory.get()); });
        CHECK_FALSE(second.registered);
        CHECK(first.registered == registered.value_or(first.registered));  // a slot given back serves again
        registered = first.registered;
        for (const FileRef& file : {first, second}) {
            std::array<char, 4> text{};
            Expectation expectation(1);
            CountedOperation operation;
            operation.expectation = &expectation;
            engine->run_sync([&] {
                io_uring_sqe& entry = engine->prepare(&operation);
                io_uring_prep_read(&entry, file.fd, text.data(), text.size(), 0);
                entry.flags |= file.sqe_flags();
            });
            REQUIRE(test::wait_for(expectation.done));
            CHECK(operation.last_result == 4);
            CHECK(std::string(text.data(), 4) == "hako");
        }
        engine->run_sync([&] {
            engine->unregister_file(first);
            engine->unregister_file(second);
        });
    }
}

TEST_CASE("where io_uring is forbidden the error says so and what to do") {
    std::array<int, 2> pipe{};
    REQUIRE(::pipe(pipe.data()) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        // As a container's seccomp profile does it.
        std::array<sock_filter, 4> rules = {
            sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
            sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
            sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
            sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        const sock_fprog program{.len = rules.size(), .filter = rules.data()};
        ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
        const auto engine = Engine::create();
        const std::string text = engine ? "created" : engine.error().text();
        [[maybe_unused]] const ssize_t done = ::write(pipe[1], text.data(), text.size());
        ::_exit(0);
    }
    ::close(pipe[1]);
    std::array<char, 1024> buffer{};
    const ssize_t length = ::read(pipe[0], buffer.data(), buffer.size());
    ::close(pipe[0]);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    REQUIRE(length > 0);
    const std::string text(buffer.data(), static_cast<std::size_t>(length));
    CHECK(text.find("io_uring") != std::string::npos);
    CHECK(text.find("seccomp") != std::string::npos);
}

TEST_CASE("an engine leaves no descriptor behind") {
    {
        auto warm_up = Engine::create().value();
    }
    const std::size_t before = open_files();
    for (int i = 0; i < 3; ++i) {
        auto engine = Engine::create().value();
        Doorbell doorbell(*engine);
        engine->run_sync([] {});
        CHECK(open_files() > before);
    }
    CHECK(open_files() == before);
}

TEST_CASE("work that is to run soon waits for a completion, or a moment") {
    struct Soon final : BatchWork {
        explicit Soon(Engine& owner) : engine(owner) {}
        void run_batch() override {
            passed = engine.moment_passed();
            ran.signal();
        }
        Engine& engine;
        std::atomic<bool> passed = false;
        EventFd ran = EventFd::create().value();
    };
    auto engine = Engine::create().value();
    Soon soon(*engine);
    Expectation operations(1);
    CountedOperation operation;
    operation.expectation = &operations;

    engine->run_sync([&] { engine->schedule_soon(soon); });
    REQUIRE(test::wait_for(soon.ran));
    CHECK(soon.passed);
    engine->run_sync([&] {
        io_uring_prep_nop(&engine->prepare(&operation));
        engine->schedule_soon(soon);
    });
    REQUIRE(test::wait_for(soon.ran));
    CHECK_FALSE(soon.passed);
    CHECK(test::wait_for(operations.done));
}
