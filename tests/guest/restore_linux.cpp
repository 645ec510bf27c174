// A Linux guest in one machine after the other. Needs a KVM that runs Linux.
//
// restore-linux KERNEL INITRD COMMAND-LINE CPUS GENERATIONS: the guest writes "tick" on its serial port now
// and then, ten times at least for each generation, and powers off. Each machine goes on for some ticks; in
// the middle one an hour is missing. Prints what the guest wrote; exit code 0 if it powered off.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <fmt/core.h>

#include <fstream>
#include <random>
#include <string>

#include "tests/guest/restore_vm.h"
#include "vmm/base/log.h"

using namespace hako;

namespace {

constexpr std::size_t kDiskBytes = 4 * MiB;
constexpr std::uint64_t kHour = std::uint64_t{3600} * 1'000'000'000;

std::size_t ticks(const std::string& text) {
    std::size_t count = 0;
    for (std::size_t at = text.find("tick"); at != std::string::npos; at = text.find("tick", at + 1))
        ++count;
    return count;
}

void fill(const test::TempImage& image) {
    std::string bytes(kDiskBytes, '\0');
    std::minstd_rand random;
    for (char& byte : bytes)
        byte = static_cast<char>(random());
    std::ofstream(image.path(), std::ios::binary) << bytes;
}

int run(char** argv) {
    const test::TempImage image(kDiskBytes);
    fill(image);
    MachineConfig config;
    config.payload = {.kernel = argv[1], .initrd = argv[2], .command_line = argv[3]};
    config.cpus.count = static_cast<std::uint32_t>(std::stoul(argv[4]));
    config.memory.size = 256 * MiB;
    virtio::blk::Config disk;
    disk.id = "disk0";
    disk.path = image.path();
    config.disks = {disk};
    test::Vm vm(std::move(config), std::chrono::seconds(300));
    vm.boot();
    vm.machine().resume();

    const int generations = std::stoi(argv[5]);
    for (int generation = 0; generation < generations; ++generation) {
        const std::size_t wanted = ticks(vm.output()) + 3;
        vm.wait_until([&] { return ticks(vm.output()) >= wanted; });
        vm.next([&](MachineState& saved) {
            if (generation == generations / 2) saved.clock.realtime -= kHour;
        });
        vm.machine().resume();
    }
    const auto end = vm.wait_for_end();
    vm.end();
    fmt::print("{}", vm.output());
    return end && end->kind == MachineEnd::Kind::kPowerOff ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6) return 2;
    set_log_level(LogLevel::kInfo);
    doctest::Context context;
    context.setAsDefaultForAssertsOutOfTestCases();
    return run(argv);
}
