// One VM over machines that are saved and built again in this process.
#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <sstream>
#include <string>
#include <thread>

#include "tests/unit/virtio/temp_image.h"
#include "vmm/machine/machine.h"

namespace hako::test {

class Listener final : public MachineListener {
  public:
    void machine_ended(const MachineEnd& end) override {
        ended_ = true;
        promise_.set_value(end);
    }
    void slot_ejected(pci::Bdf address) override { ejected_ |= std::uint32_t{1} << address.device; }
    void cpu_ejected(std::uint32_t /*cpu*/) override {}
    void memory_ejected(unsigned /*piece*/) override {}
    [[nodiscard]] std::uint32_t ejected() const { return ejected_; }
    [[nodiscard]] bool ended() const { return ended_; }

    std::optional<MachineEnd> wait(std::chrono::seconds limit) {
        auto future = promise_.get_future();
        if (future.wait_for(limit) != std::future_status::ready) return std::nullopt;
        return future.get();
    }

  private:
    std::atomic<bool> ended_{false};
    std::atomic<std::uint32_t> ejected_{0};
    std::promise<MachineEnd> promise_;
};

template <typename T>
T value_of(Result<T> result) {
    if (!result) MESSAGE(result.error().text());
    REQUIRE(result);
    return *std::move(result);
}

inline GuestMemory copy_of(const GuestMemory& memory, const MemoryConfig& config) {
    GuestMemory copy = value_of(GuestMemory::create(config));
    for (std::size_t i = 0; i < memory.regions().size(); ++i)
        std::memcpy(copy.regions()[i].host, memory.regions()[i].host, memory.regions()[i].size);
    return copy;
}
inline GuestMemory copy_of(const GuestMemory& memory) {
    return copy_of(memory, {.size = memory.size()});
}

/// Through the bytes that a file or a peer would get.
inline MachineState recoded(const MachineState& state) {
    const std::vector<std::byte> bytes = value_of(encode(state));
    MachineState back = value_of(decode(bytes));
    CHECK(value_of(encode(back)) == bytes);
    return back;
}

class Vm {
  public:
    /// Its serial port goes to a file, see output(). `limit`: what is waited for happens by then.
    Vm(MachineConfig config, std::chrono::seconds limit) : config_(std::move(config)), limit_(limit) {
        config_.serial = {.mode = console::Mode::kFile, .path = output_.path()};
        REQUIRE(consoles_.open_serial(config_.serial));
    }
    Vm(const Vm&) = delete;
    Vm& operator=(const Vm&) = delete;
    ~Vm() {
        end();
        // What the guest said goes with the report of a test that failed.
        MESSAGE(output());
    }

    void boot() {
        start(Machine::create(config_, value_of(HostResources::open(config_)), host(), listener_));
    }
    /// A machine that goes on from `state` and `memory`.
    void restore(const MachineState& state, GuestMemory memory, HostResources resources) {
        start(Machine::create(config_, std::move(resources), host(), listener_,
                              Machine::Restored{.state = state, .memory = std::move(memory)}));
    }
    /// The next machine, from what the last one saved; it does not run yet. Returns what was saved.
    MachineState next(const std::function<void(MachineState&)>& change = [](MachineState&) {}) {
        machine_->pause();
        MachineState saved = recoded(value_of(machine_->save()));
        change(saved);
        GuestMemory memory = copy_of(machine_->memory(), machine_->config().memory);
        restore(saved, std::move(memory), end());
        return saved;
    }
    HostResources end() {
        HostResources resources;
        if (machine_) {
            Machine::Legacy legacy = machine_->stop();
            config_ = std::move(legacy.config);
            resources = std::move(legacy.resources);
        }
        if (consoles_.serial() != nullptr) consoles_.serial()->stop();
        machine_.reset();
        return resources;
    }

    [[nodiscard]] Machine& machine() { return *machine_; }
    [[nodiscard]] const MachineConfig& config() const { return config_; }
    /// Of the next machine.
    void set_config(MachineConfig config) { config_ = std::move(config); }
    [[nodiscard]] MachineHost host() { return {.engine = *engine_, .consoles = consoles_}; }
    [[nodiscard]] Listener& listener() { return listener_; }
    /// How the guest ended its machine, if it did in time.
    std::optional<MachineEnd> wait_for_end() { return listener_.wait(limit_); }

    void wait_until(const std::function<bool()>& there) {
        const auto deadline = std::chrono::steady_clock::now() + limit_;
        while (!there()) {
            if (listener_.ended() || std::chrono::steady_clock::now() > deadline)
                FAIL("the guest does not get on");
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }
    [[nodiscard]] std::string output() {
        std::ostringstream text;
        text << std::ifstream(output_.path()).rdbuf();
        return text.str();
    }

  private:
    void start(Result<std::unique_ptr<Machine>> made) {
        machine_ = value_of(std::move(made));
        consoles_.serial()->start(*machine_->serial());
    }

    TempImage output_{0};
    MachineConfig config_;
    const std::chrono::seconds limit_;
    boost::asio::io_context io_;
    std::unique_ptr<io::Engine> engine_ = io::Engine::create().value();
    Consoles consoles_{io_, *engine_, [] {}};
    Listener listener_;
    std::unique_ptr<Machine> machine_;
};

}  // namespace hako::test
