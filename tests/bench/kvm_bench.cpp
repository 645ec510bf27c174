// The least that KVM takes on this host from nothing to a guest's first instruction: the floor under every
// start and restore. In the order that hako has (Chassis::build), which matters to the kernel.
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <numeric>
#include <vector>

#include "vmm/base/units.h"
#include "vmm/kvm/system.h"
#include "vmm/kvm/vcpu.h"
#include "vmm/kvm/vm.h"
#include "vmm/memory/layout.h"

namespace hako {
namespace {

constexpr std::uint64_t kMemory = 256 * MiB;
constexpr std::array kOut{std::byte{0xe6}, std::byte{0x80}};  // out $0x80, %al: ends KVM_RUN
constexpr std::array kSteps{"create VM",        "memory slot", "interrupt controllers",
                            "interrupt routes", "vCPU",        "first instruction"};
using Milliseconds = std::array<double, kSteps.size()>;

struct Unmap {
    void operator()(std::byte* memory) const { ::munmap(memory, kMemory); }
};

Result<std::unique_ptr<std::byte, Unmap>> map_memory() {
    void* const memory =
        ::mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return fail_host("cannot map {} bytes", kMemory);
    return std::unique_ptr<std::byte, Unmap>(static_cast<std::byte*>(memory));
}

/// One VM from its creation until it has run the instruction at address 0.
Result<Milliseconds> once(const kvm::System& system) {
    const auto memory = HAKO_TRY(map_memory());
    std::ranges::copy(kOut, memory.get());
    Milliseconds took{};
    std::size_t step = 0;
    auto last = std::chrono::steady_clock::now();
    const auto done = [&] {
        const auto now = std::chrono::steady_clock::now();
        took.at(step++) = std::chrono::duration<double, std::milli>(now - last).count();
        last = now;
    };
    kvm::Vm vm = HAKO_TRY(system.create_vm());
    HAKO_TRY(vm.set_tss_and_identity_map(layout::kTss, layout::kIdentityMap));
    done();
    HAKO_TRY(vm.set_memory_slot(0, 0, memory.get(), kMemory, 0));
    done();
    HAKO_TRY(vm.create_irqchip());
    done();
    kvm_irq_routing_entry route{};
    route.gsi = layout::kIoApicPins;
    route.type = KVM_IRQ_ROUTING_MSI;
    route.u.msi.address_lo = 0xfee00000;
    HAKO_TRY(vm.set_gsi_routing(std::span(&route, 1)));
    done();
    kvm::Vcpu vcpu = HAKO_TRY(vm.create_vcpu(0));
    kvm_sregs sregs = HAKO_TRY(vcpu.sregs());
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    HAKO_TRY(vcpu.set_sregs(sregs));
    kvm_regs regs{};
    regs.rflags = 2;
    HAKO_TRY(vcpu.set_regs(regs));
    done();
    HAKO_TRY(vcpu.run());
    if (vcpu.run_page().exit_reason != KVM_EXIT_IO)
        return fail_host("the guest ended otherwise: exit reason {}", vcpu.run_page().exit_reason);
    done();
    return took;
}

Result<> run(unsigned runs) {
    const kvm::System system = HAKO_TRY(kvm::System::open());
    std::vector<Milliseconds> all;
    for (unsigned i = 0; i < runs; ++i)
        all.push_back(HAKO_TRY(once(system)));
    const auto median = [&all](auto of) {
        std::vector<double> values;
        for (const Milliseconds& each : all)
            values.push_back(of(each));
        std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
        return values[values.size() / 2];
    };
    for (std::size_t step = 0; step < kSteps.size(); ++step)
        fmt::print("{:<24}{:8.2f} ms\n", kSteps.at(step),
                   median([step](const auto& each) { return each.at(step); }));
    fmt::print("{:<24}{:8.2f} ms\n", "all",
               median([](const auto& each) { return std::accumulate(each.begin(), each.end(), 0.0); }));
    return {};
}

}  // namespace
}  // namespace hako

int main(int argc, char** argv) {
    unsigned runs = 21;
    CLI::App app("What KVM takes from nothing to a guest's first instruction: medians.");
    app.add_option("--runs", runs, "how many VMs, one after the other")
        ->capture_default_str()
        ->check(CLI::Range(1, 10000));
    CLI11_PARSE(app, argc, argv);
    if (const auto outcome = hako::run(runs); !outcome) {
        fmt::print(stderr, "kvm-bench: {}\n", outcome.error().text());
        return 1;
    }
    return 0;
}
