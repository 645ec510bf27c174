#include "vmm/boot/command_line.h"

#include <algorithm>
#include <span>

#include "vmm/memory/layout.h"

namespace hako::boot {

Result<> write_command_line(GuestMemory& memory, std::string_view text, std::uint64_t limit) {
    limit = std::min(limit, layout::kCommandLineMax - 1);
    if (text.size() > limit)
        return fail_input("the kernel command line is {} bytes long, this kernel takes {}: shorten it",
                          text.size(), limit);
    if (text.find('\0') != std::string_view::npos)
        return fail_input("the kernel command line has a NUL byte in it: take it out");
    const GuestAddress address{layout::kCommandLine};
    if (!memory.write(address, std::as_bytes(std::span(text))) ||
        !memory.store(address + text.size(), std::uint8_t{0}))
        return fail_input("the kernel command line does not fit into RAM: give the guest more (--memory)");
    return {};
}

}  // namespace hako::boot
