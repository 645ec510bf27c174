// A shared directory, and the vhost-user front end behind it, with a daemon that does as a test wishes.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/unit/virtio/driver_queue.h"
#include "tests/unit/virtio/fake_daemon.h"
#include "tests/unit/virtio/fake_transport.h"
#include "virtio/fs/device.h"
#include "virtio/vhost_user/device_state.h"

using namespace hako;
using namespace hako::test;
using namespace std::chrono_literals;
using enum virtio::vhost_user::Request;
using virtio::fs::FsDevice;
using virtio::vhost_user::Frontend;

namespace {

/// Long enough for a daemon that answers, short for one that does not.
constexpr std::chrono::milliseconds kPatience{10'000};
constexpr std::chrono::milliseconds kShort{50};

io::Engine& engine() {
    static const std::unique_ptr<io::Engine> made = io::Engine::create().value();
    return *made;
}

struct Rig {
    explicit Rig(std::chrono::milliseconds patience = kPatience,
                 const std::optional<virtio::fs::State>& state = std::nullopt)
        : transport(2) {
        config.id = "_fs0";
        config.tag = "shared";
        config.socket = "/run/daemon";
        config.queue_size = 64;
        Result<std::unique_ptr<Frontend>> frontend = Frontend::adopt(daemon.start(), patience);
        REQUIRE_MESSAGE(frontend, frontend.error().text());
        auto made = FsDevice::create(config, std::move(*frontend), engine(), state);
        REQUIRE_MESSAGE(made, made.error().text());
        device = std::move(*made);
        for (int i = 0; i < 2; ++i)
            drivers.emplace_back(memory, i == 0 ? GuestAddress{64 * KiB} : drivers[0].end(), 64);
    }
    Result<> activate(std::span<const virtio::QueuePosition> positions = {}) {
        std::vector<virtio::QueueConfig> queues;
        for (const DriverQueue& driver : drivers)
            queues.push_back(driver.config());
        return device->activate({.features = device->features(),
                                 .memory = memory,
                                 .hooks = transport,
                                 .queues = queues,
                                 .kicks = transport.kicks,
                                 .positions = positions});
    }
    [[nodiscard]] bool gave_up() { return wait_for(transport.reset_wanted); }

    FakeDaemon daemon;
    GuestMemory memory = GuestMemory::create({.size = 16 * MiB}).value();
    FakeTransport transport;
    virtio::fs::Config config;
    std::unique_ptr<FsDevice> device;
    std::vector<DriverQueue> drivers;
};

using Answer = FakeDaemon::Answer;

/// An answer like the daemon's own, but for what `change` does to it.
Answer changed(vu::Request request, std::uint64_t value, auto change) {
    Answer answer{.bytes = FakeDaemon::reply(request, value)};
    change(answer);
    return answer;
}

void set_word(Answer& answer, std::size_t word, std::uint32_t value) {
    std::memcpy(answer.bytes.data() + 4 * word, &value, sizeof value);
}

/// What connecting to a daemon ends with that answers `request` in this way.
std::string refusal(vu::Request request, std::function<std::optional<Answer>()> answer) {
    FakeDaemon daemon;
    daemon.answer(request, std::move(answer));
    const auto connected = Frontend::adopt(daemon.start(), kShort);
    return connected ? "taken" : connected.error().text();
}

}  // namespace

TEST_CASE("fs: the guest sees a tag and the number of request queues") {
    Rig rig;
    CHECK(rig.device->type() == virtio::DeviceType::kFs);
    CHECK(rig.device->queue_max_sizes().size() == 2);
    CHECK(rig.device->queue_max_sizes()[1] == 64);
    std::array<std::byte, 48> bytes{};
    rig.device->read_config(0, bytes);
    CHECK(std::string(reinterpret_cast<const char*>(bytes.data())) == "shared");
    CHECK(bytes[36] == std::byte{1});
    CHECK(bytes[37] == std::byte{0});
    CHECK(bytes[44] == std::byte{0});
    rig.device->read_config(36, std::span(bytes).first(4));
    CHECK(bytes[0] == std::byte{1});
    rig.device->read_config(1000, std::span(bytes).first(4));
    CHECK(bytes[0] == std::byte{0});
    // Of what the daemon offers the driver gets what is about rings.
    CHECK(rig.device->features() ==
          (FakeDaemon::kFeatures & ~(vu::feature::kProtocolFeatures | vu::feature::kLogAll)));
}

TEST_CASE("fs: the daemon gets memory, rings, doorbells and interrupts") {
    Rig rig;
    REQUIRE(rig.activate());
    CHECK(rig.daemon.last<std::uint64_t>(kSetFeatures) ==
          (rig.device->features() | vu::feature::kProtocolFeatures));
    const auto table = rig.daemon.last<vu::MemoryTable>(kSetMemTable);
    CHECK(table.count == 1);
    CHECK(table.regions[0].size == 16 * MiB);
    CHECK(table.regions[0].user_address == reinterpret_cast<std::uintptr_t>(rig.memory.regions()[0].host));
    // It can reach what it was given.
    void* const at =
        ::mmap(nullptr, 16 * MiB, PROT_READ | PROT_WRITE, MAP_SHARED, rig.daemon.last_fd(kSetMemTable), 0);
    REQUIRE(at != MAP_FAILED);
    static_cast<char*>(at)[5 * MiB] = 77;
    CHECK(rig.memory.load<char>(GuestAddress{5 * MiB}) == 77);
    ::munmap(at, 16 * MiB);

    CHECK(rig.daemon.count(kSetVringAddr) == 2);
    const auto ring = rig.daemon.last<vhost_vring_addr>(kSetVringAddr);
    CHECK(ring.index == 1);
    CHECK(ring.flags == 0);
    CHECK(ring.desc_user_addr == table.regions[0].user_address + rig.drivers[1].config().descriptors.value);
    CHECK(rig.daemon.last<vu::VringState>(kSetVringNum).number == 64);
    CHECK(rig.daemon.last<vu::VringState>(kSetVringBase).number == 0);
    CHECK(rig.daemon.last<vu::VringState>(kSetVringEnable).number == 1);
    // A doorbell that rang before anybody listened is heard, and the interrupt is the guest's.
    CHECK(rig.transport.kicks[0].pending());
    std::uint64_t one = 1;
    CHECK(::write(rig.daemon.last_fd(kSetVringCall), &one, sizeof one) == sizeof one);
    CHECK(wait_for(rig.transport.interrupts[1]));

    rig.device->queue_interrupt_changed(0);
    CHECK(rig.daemon.count(kSetVringCall) == 3);
    rig.device->memory_changed();
    CHECK(rig.daemon.count(kSetMemTable) == 2);
    rig.device->reset();
    CHECK(rig.daemon.count(kGetVringBase) == 2);
    CHECK_FALSE(rig.transport.reset_wanted.pending());
    // Once more, as after a reboot of the guest.
    REQUIRE(rig.activate());
    CHECK(rig.daemon.count(kSetVringEnable) == 4);
}

TEST_CASE("fs: a daemon without REPLY_ACK is not waited for") {
    FakeDaemon plain;
    plain.protocol_features = 0;
    auto frontend = Frontend::adopt(plain.start(), kPatience);
    REQUIRE(frontend);
    CHECK_FALSE((*frontend)->queues());
    CHECK_FALSE((*frontend)->can_log());
    CHECK_FALSE((*frontend)->can_move());
    (*frontend)->start_clock();
    CHECK((*frontend)->set_ring_size(0, 64));
    CHECK((*frontend)->stop_ring(0) == std::uint16_t{0});
}

TEST_CASE("fs: paused, the rings are hako's, and stand where the daemon says") {
    Rig rig;
    REQUIRE(rig.activate());
    rig.daemon.next_avail = 7;
    REQUIRE(rig.memory.store<std::uint16_t>(rig.drivers[1].config().device + 2, 5));
    rig.device->pause();
    CHECK(rig.daemon.count(kGetVringBase) == 2);
    const auto positions = rig.device->queue_positions();
    REQUIRE(positions.size() == 2);
    CHECK(positions[1] == virtio::QueuePosition{.next_avail = 7, .next_used = 5});
    rig.device->pause();
    CHECK(rig.daemon.count(kGetVringBase) == 2);
    rig.device->resume();
    CHECK(rig.daemon.last<vu::VringState>(kSetVringBase).number == 7);
    CHECK(rig.daemon.count(kSetVringEnable) == 4);
}

TEST_CASE("fs: a state has the daemon's, and another daemon goes on from it") {
    virtio::fs::State state;
    std::vector<virtio::QueuePosition> positions;
    {
        Rig rig;
        CHECK(rig.device->state().value().daemon.empty());  // no driver uses it: there is nothing to save
        REQUIRE(rig.activate());
        rig.daemon.next_avail = 3;
        rig.device->pause();
        positions = rig.device->queue_positions();
        state = rig.device->state().value();
        CHECK(std::string_view(reinterpret_cast<const char*>(state.daemon.data()), state.daemon.size()) ==
              "what the daemon knows");
        // It goes on, too.
        rig.device->resume();
        CHECK(rig.daemon.count(kSetVringEnable) == 4);
    }
    state.daemon.resize(200'000, 'x');  // more than a pipe holds
    Rig rig(kPatience, state);
    CHECK(rig.daemon.state.size() == 200'000);
    CHECK(rig.daemon.count(kSetMemTable) == 0);
    rig.device->pause();
    REQUIRE(rig.activate(positions));
    CHECK(rig.daemon.count(kSetVringEnable) == 0);
    CHECK(rig.device->queue_positions() == positions);
    rig.device->resume();
    CHECK(rig.daemon.last<vu::VringState>(kSetVringBase).number == 3);
}

TEST_CASE("fs: what a daemon cannot do is refused before it is needed") {
    Rig rig;
    REQUIRE(rig.activate());
    CHECK(rig.device->check_can_move(virtio::Move::kLive));
    for (const std::uint64_t missing :
         {vu::protocol_feature::kDeviceState, vu::protocol_feature::kLogShmFd}) {
        FakeDaemon daemon;
        daemon.protocol_features &= ~missing;
        auto frontend = Frontend::adopt(daemon.start(), kPatience);
        REQUIRE(frontend);
        const auto device = FsDevice::create(rig.config, std::move(*frontend), engine()).value();
        const auto live = device->check_can_move(virtio::Move::kLive);
        REQUIRE_FALSE(live);
        CHECK(live.error().fault() == Fault::kConflict);
        CHECK(live.error().text().find("_fs0") != std::string::npos);
        CHECK(device->check_can_move(virtio::Move::kPaused).has_value() ==
              (missing == vu::protocol_feature::kLogShmFd));
        CHECK(device->log_writes(true, rig.memory).has_value() ==
              (missing != vu::protocol_feature::kLogShmFd));
    }
    CHECK_FALSE(rig.device->check_can_move(virtio::Move::kPostcopy));
    rig.daemon.leave();
    CHECK(rig.gave_up());
    CHECK_FALSE(rig.device->check_can_move(virtio::Move::kPaused));
}

TEST_CASE("fs: what the daemon writes is seen while somebody wants to know") {
    Rig rig;
    REQUIRE(rig.device->log_writes(true, rig.memory));
    CHECK(rig.daemon.count(kSetLogBase) == 0);
    REQUIRE(rig.activate());
    REQUIRE(rig.daemon.count(kSetLogBase) == 1);
    CHECK((rig.daemon.last<std::uint64_t>(kSetFeatures) & vu::feature::kLogAll) != 0);
    const auto ring = rig.daemon.last<vhost_vring_addr>(kSetVringAddr);
    CHECK(ring.flags == 1U << VHOST_VRING_F_LOG);
    CHECK(ring.log_guest_addr == rig.drivers[1].config().device.value);
    const auto area = rig.daemon.last<vu::LogArea>(kSetLogBase);
    CHECK(area.size * 8 * kPageSize >= 16 * MiB);
    const int log = rig.daemon.last_fd(kSetLogBase);
    // Nobody can take it away from under hako.
    CHECK(::ftruncate(log, 0) != 0);
    rig.memory.start_dirty_tracking();
    const auto write_log = [&](std::uint64_t page) {
        const auto bit = static_cast<std::uint8_t>(1U << page % 8);
        REQUIRE(::pwrite(log, &bit, 1, static_cast<off_t>(page / 8)) == 1);
    };
    write_log(0);
    write_log(4095);
    write_log(area.size * 8 - 1);  // beyond memory: nobody's
    rig.device->collect_writes();
    DirtyBitmap& bitmap = *rig.memory.dirty_bitmap(0);
    CHECK(bitmap.take(0) == 1);
    CHECK(bitmap.take(63) == std::uint64_t{1} << 63);
    rig.device->collect_writes();
    CHECK(bitmap.take(0) == 0);

    REQUIRE(rig.device->log_writes(false, rig.memory));
    CHECK((rig.daemon.last<std::uint64_t>(kSetFeatures) & vu::feature::kLogAll) == 0);
    CHECK(rig.daemon.last<vhost_vring_addr>(kSetVringAddr).flags == 0);
    // While it runs.
    REQUIRE(rig.device->log_writes(true, rig.memory));
    CHECK(rig.daemon.count(kSetLogBase) == 2);
    CHECK(rig.daemon.last<vhost_vring_addr>(kSetVringAddr).flags == 1U << VHOST_VRING_F_LOG);
}

TEST_CASE("fs: a daemon that dies costs the device its use, and no more") {
    Rig rig;
    REQUIRE(rig.activate());
    rig.daemon.leave();
    REQUIRE(rig.gave_up());
    CHECK(rig.transport.reset_reason() == "its daemon is gone");
    rig.device->pause();
    rig.device->resume();
    rig.device->queue_interrupt_changed(0);
    rig.device->memory_changed();
    CHECK_FALSE(rig.device->state());
    CHECK(rig.device->queue_positions().size() == 2);
    CHECK_FALSE(rig.transport.reset_wanted.pending());  // it is said once
    rig.device->reset();
    const auto again = rig.activate();
    REQUIRE_FALSE(again);
    CHECK(again.error().text().find("gone") != std::string::npos);
}

TEST_CASE("fs: a daemon that says that a ring breaks the rules") {
    Rig rig;
    REQUIRE(rig.activate());
    std::uint64_t one = 1;
    CHECK(::write(rig.daemon.last_fd(kSetVringErr), &one, sizeof one) == sizeof one);
    REQUIRE(rig.gave_up());
    rig.device->reset();
    CHECK(rig.daemon.count(kGetVringBase) == 2);  // it is stopped all the same
    CHECK(rig.activate());
}

TEST_CASE("fs: a daemon that is silent while it is needed is given up") {
    for (const vu::Request request : {kSetMemTable, kSetFeatures, kSetVringKick, kSetVringEnable}) {
        Rig rig(kShort);
        rig.daemon.answer(request, [] { return Answer{}; });
        const auto active = rig.activate();
        REQUIRE_FALSE(active);
        CHECK(active.error().text().find("in time") != std::string::npos);
        rig.device->reset();
    }
    Rig rig(kShort);
    REQUIRE(rig.activate());
    rig.daemon.answer(kGetVringBase, [] { return Answer{}; });
    rig.device->pause();
    CHECK(rig.gave_up());
    CHECK_FALSE(rig.device->state());
    rig.device->resume();
    rig.device->reset();
}

TEST_CASE("fs: answers are what was asked for, or the connection ends") {
    CHECK(refusal(kGetFeatures, [] { return std::nullopt; }) == "taken");
    const auto wrong = [](vu::Request request, auto change) {
        return refusal(request, [=] { return changed(request, FakeDaemon::kFeatures, change); });
    };
    CHECK(wrong(kGetFeatures, [](Answer&) {}) == "taken");
    CHECK(wrong(kGetFeatures, [](Answer& a) { set_word(a, 0, 2); }).find("answered request 2") !=
          std::string::npos);
    CHECK(wrong(kGetFeatures, [](Answer& a) { set_word(a, 1, 1); }).find("flags") != std::string::npos);
    CHECK(wrong(kGetFeatures, [](Answer& a) { set_word(a, 1, 2 | 4); }).find("flags") != std::string::npos);
    CHECK(wrong(kGetFeatures, [](Answer& a) { set_word(a, 2, 4); }).find("4 bytes") != std::string::npos);
    CHECK(wrong(kGetFeatures, [](Answer& a) { set_word(a, 2, ~0U); }).find("bytes") != std::string::npos);
    CHECK(wrong(kGetFeatures, [](Answer& a) { a.bytes.resize(14); }).find("in time") != std::string::npos);
    CHECK(wrong(kGetFeatures, [](Answer& a) { a.bytes.resize(5); }).find("in time") != std::string::npos);
    CHECK(wrong(kGetFeatures, [](Answer& a) { a.bytes.resize(5), a.hang_up = true; }).find("closed") !=
          std::string::npos);
    CHECK(wrong(kGetFeatures, [](Answer& a) { a.bytes.clear(), a.hang_up = true; }).find("closed") !=
          std::string::npos);
    CHECK(wrong(kGetFeatures, [](Answer& a) { a.fds = {0}; }).find("nobody asked") != std::string::npos);
    CHECK(wrong(kGetFeatures, [](Answer& a) { a.fds = std::vector<int>(16, 0); }).find("nobody asked") !=
          std::string::npos);
    // A daemon of another kind, and one that refuses.
    CHECK(refusal(kGetFeatures, [] {
              return Answer{.bytes = FakeDaemon::reply(kGetFeatures, vu::feature::kProtocolFeatures)};
          }).find("VERSION_1") != std::string::npos);
    Rig rig;
    rig.daemon.answer(kSetMemTable,
                      [] { return Answer{.bytes = FakeDaemon::reply(kSetMemTable, std::uint64_t{22})}; });
    const auto active = rig.activate();
    REQUIRE_FALSE(active);
    CHECK(active.error().text().find("refuses") != std::string::npos);
}

TEST_CASE("fs: a ring's position is of that ring") {
    for (const vu::VringState answer :
         {vu::VringState{.index = 5}, vu::VringState{.index = 0, .number = 65536}}) {
        Rig rig;
        REQUIRE(rig.activate());
        rig.daemon.answer(kGetVringBase,
                          [=] { return Answer{.bytes = FakeDaemon::reply(kGetVringBase, answer)}; });
        rig.device->pause();
        CHECK(rig.gave_up());
    }
}

TEST_CASE("fs: a daemon's state comes whole, in time, and is not too long") {
    const auto saved = [](std::chrono::milliseconds patience, auto prepare) {
        Rig rig(patience);
        REQUIRE(rig.activate());
        rig.device->pause();
        prepare(rig.daemon);
        const auto state = rig.device->state();
        return state ? "taken" : state.error().text();
    };
    CHECK(saved(kPatience, [](FakeDaemon&) {}) == "taken");
    const auto answers = [](vu::Request request, std::uint64_t value, std::vector<int> fds = {}) {
        return [=](FakeDaemon& daemon) {
            daemon.answer(request,
                          [=] { return Answer{.bytes = FakeDaemon::reply(request, value), .fds = fds}; });
        };
    };
    CHECK(saved(kPatience, answers(kCheckDeviceState, 1)).find("did not come through") != std::string::npos);
    CHECK(saved(kPatience, answers(kSetDeviceStateFd, 5)).find("refuses to move") != std::string::npos);
    // It speaks of a descriptor and sends none, or the other way round; one that may keep hako waiting.
    CHECK(saved(kPatience, answers(kSetDeviceStateFd, 0)).find("descriptor") != std::string::npos);
    const Fd file(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
    CHECK(saved(kPatience, answers(kSetDeviceStateFd, vu::kStateNoFd, {file.get()})).find("descriptor") !=
          std::string::npos);
    CHECK(saved(kPatience, answers(kSetDeviceStateFd, 0, {file.get()})).find("no pipe") != std::string::npos);
    // A pipe of its own is fine, whether something comes through it or not.
    int ends[2] = {-1, -1};
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const Fd from(ends[0]);
    Fd to(ends[1]);
    CHECK(saved(kShort, answers(kSetDeviceStateFd, 0, {from.get()})).find("in time") != std::string::npos);
    to.reset();
    CHECK(saved(kPatience, answers(kSetDeviceStateFd, 0, {from.get()})) == "taken");
    // One without an end.
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    Fd endless(ends[0]);
    std::thread writer([fd = Fd(ends[1])] {
        sigset_t pipe_signal;
        ::sigemptyset(&pipe_signal);
        ::sigaddset(&pipe_signal, SIGPIPE);
        ::pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);
        const std::vector<char> piece(65536);
        while (::write(fd.get(), piece.data(), piece.size()) > 0) {
        }
    });
    CHECK(saved(kPatience, answers(kSetDeviceStateFd, 0, {endless.get()})).find("longer than") !=
          std::string::npos);
    endless.reset();
    writer.join();
}

TEST_CASE("fs: a state that a daemon does not want is refused, and ends no process") {
    const auto loaded = [](auto prepare, std::uint64_t features = virtio::feature::kVersion1) {
        FakeDaemon daemon;
        prepare(daemon);
        auto frontend = Frontend::adopt(daemon.start(), kPatience);
        REQUIRE(frontend);
        const virtio::fs::State state{.features = features, .daemon = std::vector<std::uint8_t>(200'000)};
        virtio::fs::Config config;
        config.id = "_fs0";
        config.tag = "shared";
        const auto made = FsDevice::create(config, std::move(*frontend), engine(), state);
        return made ? "taken" : made.error().text();
    };
    CHECK(loaded([](FakeDaemon&) {}) == "taken");
    CHECK(loaded([](FakeDaemon& daemon) { daemon.protocol_features = 0; }).find("cannot go on") !=
          std::string::npos);
    CHECK(loaded([](FakeDaemon& daemon) { daemon.features &= ~virtio::feature::kEventIdx; },
                 virtio::feature::kVersion1 | virtio::feature::kEventIdx)
              .find("offers") != std::string::npos);
    CHECK(loaded([](FakeDaemon&) {}, 0).find("features") != std::string::npos);
    CHECK(loaded([](FakeDaemon& daemon) { daemon.queues = 1; }).find("serves 0") != std::string::npos);
    CHECK(loaded([](FakeDaemon& daemon) {
              daemon.answer(kCheckDeviceState, [] {
                  return Answer{.bytes = FakeDaemon::reply(kCheckDeviceState, std::uint64_t{1})};
              });
          }).find("did not come through") != std::string::npos);
    // Its end of the pipe is closed: that is an error here, and no signal.
    int ends[2] = {-1, -1};
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const Fd to(ends[1]);
    ::close(ends[0]);
    CHECK(loaded([&](FakeDaemon& daemon) {
              daemon.answer(kSetDeviceStateFd, [&] {
                  return Answer{.bytes = FakeDaemon::reply(kSetDeviceStateFd, std::uint64_t{0}),
                                .fds = {to.get()}};
              });
          }).find("EPIPE") != std::string::npos);
}
