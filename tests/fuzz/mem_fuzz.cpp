// libFuzzer target: a driver that says and does whatever it likes to a memory device, and hosts that move it.
//
// Input: steps, each a byte that says what to do, then what that takes. Checks that no more is plugged than
// was ever asked for, that plugged blocks keep what is in them, and what else must hold.
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "tests/fuzz/drivers.h"
#include "tests/fuzz/input.h"
#include "virtio/mem/device.h"
#include "vmm/memory/layout.h"

using namespace hako;
using hako::fuzz::Input;
using hako::fuzz::require;
namespace vm = hako::virtio::mem;

namespace {

constexpr std::uint64_t kBlock = 2 * MiB;
constexpr std::uint64_t kRoom = 128 * MiB;
constexpr std::uint64_t kBlocks = kRoom / kBlock;
constexpr GuestAddress kRegion{layout::kHighRam};
constexpr GuestAddress kRequests{1 * MiB};
constexpr GuestAddress kResponses{1 * MiB + 512 * KiB};
constexpr std::uint64_t kMark = 0x0123'4567'89ab'cdef;
constexpr std::size_t kMaxSteps = 64;

MemoryConfig memory_config(std::uint64_t requested) {
    return {.size = 2 * MiB,
            .room = kRoom,
            .plugged = requested,
            .growth = MemoryGrowth::kVirtioMem,
            .thp = false};
}

class Run {
  public:
    Run(fuzz::World& world, Input input) : world_(world), input_(input) {
        world_.memory.blocks()->set(0, kBlocks, false);
        config_ = vm::config_of(memory_config(0)).value();
        config_.populate = (input_.byte() & 1) != 0;
        make({});
        begin({});
    }
    ~Run() {
        world_.memory.discard_gate()->open();
        device_->pause();
        for (const virtio::QueuePosition& position : device_->queue_positions())
            require(position.next_avail == position.next_used, "something is in flight");
        check();
        const std::uint64_t plugged = device_->plugged();
        device_->reset();
        require(device_->plugged() == plugged, "a reset changes blocks");
    }

    void all() {
        for (std::size_t step = 0; step < kMaxSteps && !input_.empty(); ++step)
            one();
    }

  private:
    void make(const std::optional<vm::State>& state) {
        device_.reset();
        auto device = vm::MemDevice::create(config_, world_.memory, *world_.engine, state);
        require(device.has_value(), "a state of the device itself is refused");
        device_ = std::move(*device);
    }

    void begin(std::span<const virtio::QueuePosition> positions) {
        if (positions.empty()) {
            std::uint64_t features = device_->features();
            if ((input_.byte() & 1) != 0) features &= ~virtio::feature::kEventIdx;
            drivers_.start(*device_, features);
        }
        drivers_.activate(*device_, positions);
    }

    /// Paused. Each plugged block is marked as long as it stays.
    void check() {
        const PluggedBlocks& blocks = *world_.memory.blocks();
        require(blocks.plugged() <= most_, "more is plugged than was ever asked for");
        require(blocks.plugged() == blocks.plugged(0, kBlocks) * kBlock, "blocks are counted wrong");
        for (std::uint64_t block = 0; block < kBlocks; ++block) {
            const bool plugged = blocks.plugged(block, 1) == 1;
            const bool here = world_.memory.load<std::uint64_t>(kRegion + block * kBlock) == kMark;
            // One that went and came again in between may have lost it.
            if (plugged && marked_[block] && !unplugs_)
                require(here, "a plugged block has lost what is in it");
            if (plugged) world_.memory.store(kRegion + block * kBlock, kMark);
            marked_[block] = plugged;
        }
        // What still waits in the ring may be one that unplugs.
        const auto positions = device_->queue_positions();
        unplugs_ = unplugs_ && positions[0].next_avail != drivers_[0].available_index();
    }

    void one() {
        switch (input_.byte() % 8) {
            case 0:
            case 1:
            case 2:
                return offer();
            case 3: {  // any descriptor, and any entry
                unplugs_ = true;
                test::DriverQueue& driver = drivers_[0];
                driver.write_descriptor(input_.byte() % driver.size(), kRequests + input_.word() * 8U,
                                        input_.word(), static_cast<std::uint16_t>(input_.byte() % 8),
                                        input_.byte() % driver.size());
                driver.offer(input_.byte());
                return drivers_.kick(0);
            }
            case 4: {  // saved, and restored elsewhere
                device_->pause();
                check();
                const auto positions = device_->queue_positions();
                const vm::State state = device_->state();
                make(state);
                require(device_->state() == state, "a state changes when it is restored");
                begin(positions);
                return device_->resume();
            }
            case 5:
                device_->reset();
                return begin({});
            case 6:
                config_.requested = input_.byte() % (kBlocks + 1) * kBlock;
                most_ = std::max(most_, config_.requested);
                device_->resize(config_.requested);
                return require(device_->requested() == config_.requested, "another size than was asked for");
            case 7:
                if ((input_.byte() & 1) != 0)
                    world_.memory.discard_gate()->close();
                else
                    world_.memory.discard_gate()->open();
                while (drivers_[0].take_used()) {
                }
        }
    }

    /// A request, mostly one that can be carried out.
    void offer() {
        const std::uint16_t at = next_++ % 64;
        vm::Request request;
        request.type = static_cast<vm::RequestType>(input_.byte() % 5);
        request.addr = kRegion.value + input_.byte() % (kBlocks + 2) * kBlock;
        request.nb_blocks = input_.byte() % 16;
        const std::uint8_t odd = input_.byte();
        if ((odd & 15) == 1) request.addr += input_.word();
        if ((odd & 15) == 2) request.addr = input_.long_word() * std::uint64_t{0x1'0001'0001};
        if ((odd & 15) == 3) request.nb_blocks = input_.word();
        unplugs_ |= request.type == vm::RequestType::kUnplug || request.type == vm::RequestType::kUnplugAll;
        const GuestAddress from = kRequests + at * 64U;
        const GuestAddress to = kResponses + at * 64U;
        world_.memory.store(from, request);
        std::vector<test::Buffer> buffers = {{from, sizeof request, false}, {to, sizeof(vm::Response), true}};
        if ((odd & 15) == 4) buffers[0].length = 1 + input_.byte() % 64;
        if ((odd & 15) == 5) buffers[1].length = 1 + input_.byte() % 64;
        if ((odd & 15) == 6) buffers.pop_back();
        if ((odd & 15) == 7) buffers.erase(buffers.begin());
        if (drivers_[0].add(buffers)) drivers_.kick(0);
    }

    fuzz::World& world_;
    Input input_;
    vm::Config config_;
    std::unique_ptr<vm::MemDevice> device_;
    fuzz::Drivers drivers_{world_.memory, world_.hooks, world_.kicks};
    std::array<bool, kBlocks> marked_{};
    std::uint64_t most_ = 0;
    std::uint16_t next_ = 0;
    bool unplugs_ = false;  ///< since the last check
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static fuzz::World world(memory_config(0), 1);
    Run(world, Input(data, size)).all();
    return 0;
}
