// libFuzzer target: a driver that says and does whatever it likes to a balloon, and hosts that move it.
//
// Input: steps, each a byte that says what to do, then what that takes. Checks that memory which no request
// names stays as it is, and what else must hold.
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "tests/fuzz/drivers.h"
#include "tests/fuzz/input.h"
#include "virtio/balloon/device.h"

using namespace hako;
using hako::fuzz::Input;
using hako::fuzz::require;
namespace bl = hako::virtio::balloon;

namespace {

constexpr std::uint64_t kMemory = 2 * MiB;
constexpr GuestAddress kRequests{1 * MiB};
/// Pages from here on may be given; that below is the rings', the requests' and nobody's.
constexpr bl::PageNumber kGiven = 320;
constexpr bl::PageNumber kPages = kMemory / bl::kBalloonPage;
/// A page of nobody's.
constexpr GuestAddress kKept{1 * MiB - 8 * KiB};
constexpr std::uint64_t kMark = 0x0123'4567'89ab'cdef;
constexpr std::size_t kMaxSteps = 64;
constexpr std::uint64_t kMaxSize = 1 * MiB;

class Run {
  public:
    Run(fuzz::World& world, Input input) : world_(world), input_(input) {
        config_.free_page_reporting = (input_.byte() & 1) != 0;
        config_.deflate_on_oom = (input_.byte() & 1) != 0;
        make({});
        begin({});
    }
    ~Run() {
        world_.memory.discard_gate()->open();
        device_->pause();
        for (const virtio::QueuePosition& position : device_->queue_positions())
            require(position.next_avail == position.next_used, "something is in flight");
        device_->reset();
        require(device_->actual() == 0, "a balloon is not empty after a reset");
        require(odd_ || world_.memory.load<std::uint64_t>(kKept) == kMark, "a page that nobody gave is gone");
    }

    void all() {
        for (std::size_t step = 0; step < kMaxSteps && !input_.empty(); ++step)
            one();
    }

  private:
    void make(const std::optional<bl::State>& state) {
        device_.reset();
        auto device = bl::BalloonDevice::create(config_, *world_.engine, state);
        require(device.has_value(), "a state of the device itself is refused");
        device_ = std::move(*device);
    }

    void begin(std::span<const virtio::QueuePosition> positions) {
        if (positions.empty()) {
            std::uint64_t features = device_->features();
            const std::uint8_t refused = input_.byte();
            if ((refused & 1) != 0) features &= ~virtio::feature::kEventIdx;
            if ((refused & 2) != 0) features &= ~bl::feature::kStatistics;
            drivers_.start(*device_, features);
            world_.memory.store(kKept, kMark);
        }
        drivers_.activate(*device_, positions);
    }

    void one() {
        switch (input_.byte() % 9) {
            case 0:
            case 1:
                return offer();
            case 2: {  // any descriptor, and any entry
                odd_ = true;
                const std::size_t index = input_.byte() % drivers_.size();
                test::DriverQueue& driver = drivers_[index];
                driver.write_descriptor(input_.byte() % driver.size(), kRequests + input_.word() * 8U,
                                        input_.word(), static_cast<std::uint16_t>(input_.byte() % 8),
                                        input_.byte());
                driver.offer(input_.byte());
                return drivers_.kick(index);
            }
            case 3: {
                std::array<std::byte, 8> bytes{};
                std::ranges::generate(bytes, [&] { return static_cast<std::byte>(input_.byte()); });
                const std::uint32_t offset = input_.byte();
                device_->write_config(offset, std::span(bytes).first(1 + input_.byte() % bytes.size()));
                return device_->read_config(offset, bytes);
            }
            case 4: {  // saved, and restored elsewhere
                device_->pause();
                const auto positions = device_->queue_positions();
                const bl::State state = device_->state();
                make(state);
                require(device_->state() == state, "a state changes when it is restored");
                return begin(positions);
            }
            case 5:
                device_->reset();
                return begin({});
            case 6:
                config_.size = input_.word() * bl::kBalloonPage % kMaxSize;
                device_->resize(config_.size);
                return require(device_->wanted() == config_.size, "another size than was asked for");
            case 7:
                require(device_->statistics().size() <= bl::kStatisticNames.size(), "too many statistics");
                for (test::DriverQueue& driver : drivers_)
                    for (int i = 0; i < 256 && driver.take_used(); ++i) {
                    }
                return;
            case 8:
                if ((input_.byte() & 1) != 0)
                    world_.memory.discard_gate()->close();
                else
                    world_.memory.discard_gate()->open();
        }
    }

    /// A request with page numbers, or pages, mostly such as may be given.
    void offer() {
        const std::size_t index = input_.byte() % drivers_.size();
        const GuestAddress at = kRequests + (input_.byte() % 64) * 1024U;
        std::array<std::uint32_t, 8> numbers{};
        for (std::uint32_t& number : numbers) {
            const std::uint8_t kind = input_.byte();
            number = (kind & 15) == 0 ? kPages + input_.long_word() % (UINT32_MAX - kPages)
                                      : kGiven + kind % (kPages - kGiven);
        }
        world_.memory.write(at, std::as_bytes(std::span(numbers)));
        std::array<test::Buffer, 3> buffers{};
        const std::size_t count = 1 + input_.byte() % buffers.size();
        const bool report = (input_.byte() & 1) != 0;
        odd_ |= count > 1 && !report;
        for (test::Buffer& buffer : std::span(buffers).first(count)) {
            // A report names memory itself.
            if (report) {
                const std::uint32_t offset = kGiven * bl::kBalloonPage + input_.word() * 8U;
                buffer = {GuestAddress{offset},
                          1 + input_.long_word() % (static_cast<std::uint32_t>(kMemory) - offset), true};
            } else {
                buffer = {at, 1U + input_.word() % 4096U, (input_.byte() & 7) == 1};
            }
        }
        if (drivers_[index].add(std::span(buffers).first(count))) drivers_.kick(index);
    }

    fuzz::World& world_;
    Input input_;
    bl::Config config_;
    std::unique_ptr<bl::BalloonDevice> device_;
    fuzz::Drivers drivers_{world_.memory, world_.hooks, world_.kicks};
    bool odd_ = false;  ///< page numbers may have been put together of anything
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static fuzz::World world({.size = kMemory, .thp = false}, 4);
    Run(world, Input(data, size)).all();
    return 0;
}
