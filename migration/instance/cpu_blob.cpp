#include "migration/instance/cpu_blob.h"

#include <string>

#include "vmm/machine/cpu_compat.h"
#include "vmm/state/sections.h"

namespace hako::migration {
namespace {

constexpr std::string_view kCpu = "cpu";  ///< instance: its number

}  // namespace

Result<Blob> encode_cpus(std::span<const kvm::VcpuState> cpus) {
    state::Writer writer;
    for (const kvm::VcpuState& cpu : cpus)
        writer.add(kCpu, std::to_string(cpu.id), cpu);
    return std::move(writer).finish();
}

Result<> check_cpus(std::span<const std::byte> blob, const HostCpu& host) {
    state::Reader reader = HAKO_TRY(state::Reader::parse(blob));
    for (const std::string_view number : reader.instances(kCpu)) {
        const auto cpu = HAKO_TRY(reader.take<kvm::VcpuState>(kCpu, number));
        HAKO_TRY_WRAP(refuse_differences(cpu_differences(cpu, host)), "vCPU {}", number);
    }
    return reader.finish();
}

}  // namespace hako::migration
