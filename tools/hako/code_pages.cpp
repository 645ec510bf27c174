#include "tools/hako/code_pages.h"

#include <link.h>
#include <sys/mman.h>

#include <cstdint>

#include "vmm/base/units.h"

namespace hako {
namespace {

/// The first object is the program.
int let_go(dl_phdr_info* info, std::size_t /*size*/, void* /*context*/) {
    for (ElfW(Half) i = 0; i < info->dlpi_phnum; ++i) {
        const ElfW(Phdr) & segment = info->dlpi_phdr[i];
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0 || (segment.p_flags & PF_W) != 0)
            continue;
        const std::uint64_t begin = align_down(info->dlpi_addr + segment.p_vaddr, kPageSize);
        const std::uint64_t end = align_up(info->dlpi_addr + segment.p_vaddr + segment.p_memsz, kPageSize);
        // Never written to, so the file has what is dropped.
        ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
    }
    return 1;
}

}  // namespace

void let_go_of_code() {
    ::dl_iterate_phdr(let_go, nullptr);
}

}  // namespace hako
