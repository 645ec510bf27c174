#include "vmm/memory/host_memory.h"

#include <fcntl.h>

#include <cerrno>
#include <charconv>
#include <string>

#include "vmm/base/fd.h"
#include "vmm/base/read_all.h"

namespace hako {
namespace {

/// "MemTotal:       24047936 kB"; 0 if there is no such line.
std::uint64_t field(std::string_view text, std::string_view name) {
    for (std::size_t at = 0; at < text.size();) {
        const std::string_view line = text.substr(at, text.find('\n', at) - at);
        at += line.size() + 1;
        if (!line.starts_with(name) || line.substr(name.size(), 1) != ":") continue;
        const std::size_t digits = line.find_first_of("0123456789");
        std::uint64_t kib = 0;
        if (digits != std::string_view::npos)
            std::from_chars(line.data() + digits, line.data() + line.size(), kib);
        return kib * KiB;
    }
    return 0;
}

}  // namespace

HostMemory HostMemory::parse(std::string_view meminfo) {
    return {.total = field(meminfo, "MemTotal") + field(meminfo, "SwapTotal"),
            .available = field(meminfo, "MemAvailable") + field(meminfo, "SwapFree")};
}

Result<HostMemory> HostMemory::read() {
    const Fd file(::open("/proc/meminfo", O_RDONLY | O_CLOEXEC));
    std::string text;
    if (!file.valid()) return fail_errno(errno, "/proc/meminfo");
    if (const int error = read_all(file.get(), 64 * KiB, text); error != 0)
        return fail_errno(error, "/proc/meminfo");
    return parse(text);
}

Result<> check_fits(const MemoryConfig& config, std::uint64_t filled, const HostMemory& host) {
    if (config.total() > host.total)
        return fail_input("the VM has {} of memory, this host {}, swap included", format_size(config.total()),
                          format_size(align_down(host.total, MiB)));
    // Huge pages were set aside, and are counted when they are mapped.
    if (!config.hugepages && filled > host.available)
        return fail_input("{} of memory are to be filled, and {} are free on this host, swap included",
                          format_size(align_up(filled, MiB)), format_size(align_down(host.available, MiB)));
    return {};
}

}  // namespace hako
