// Gives a stored snapshot the CPUs of this host, so that it can be restored anywhere: all else stays as it
// was written.
//
// adopt-state STORED OF-THIS-HOST: two snapshots' `vm`, as hexadecimal digits in a file each. Prints what
// STORED is then.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "migration/instance/saved_vm.h"
#include "vmm/machine/state.h"

namespace {

using namespace hako;

Result<migration::SavedVm> read(const char* path) {
    std::ostringstream digits;
    digits << std::ifstream(path).rdbuf();
    const std::string text = digits.str();
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2)
        bytes.push_back(static_cast<std::byte>(std::stoul(text.substr(i, 2), nullptr, 16)));
    return migration::decode_saved_vm(bytes);
}

Result<std::string> adopt(const char* stored_path, const char* host_path) {
    migration::SavedVm stored = HAKO_TRY(read(stored_path));
    const migration::SavedVm host = HAKO_TRY(read(host_path));
    MachineState state = HAKO_TRY(decode(stored.machine));
    const MachineState of_host = HAKO_TRY(decode(host.machine));
    for (std::size_t i = 0; i < state.cpus.size(); ++i) {
        state.cpus[i].cpuid = of_host.cpus.at(i).cpuid;
        state.cpus[i].seen_cpuid = of_host.cpus.at(i).seen_cpuid;
        state.cpus[i].tsc_khz = of_host.cpus.at(i).tsc_khz;
    }
    stored.machine = HAKO_TRY(encode(state));
    const std::vector<std::byte> bytes = HAKO_TRY(encode(stored));
    std::string digits;
    for (const std::byte byte : bytes)
        digits += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
    return digits;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const Result<std::string> digits = adopt(argv[1], argv[2]);
    if (!digits) {
        std::fprintf(stderr, "adopt-state: %s\n", digits.error().text().c_str());
        return 1;
    }
    std::puts(digits->c_str());
    return 0;
}
