#include "vmm/boot/bzimage.h"

#include <asm/bootparam.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include "vmm/boot/command_line.h"
#include "vmm/boot/initrd.h"
#include "vmm/boot/memory_map.h"
#include "vmm/memory/layout.h"

namespace hako::boot {
namespace {

// Offsets from the start of the file (boot.rst, "The Real-Mode Kernel Header").
constexpr std::uint64_t kHeaderOffset = 0x1f1;
constexpr std::uint64_t kJumpOffset = 0x201;
constexpr std::uint64_t kMagicOffset = 0x202;
constexpr std::uint32_t kMagic = 0x53726448;  // "HdrS"
constexpr std::uint16_t kBootFlag = 0xaa55;
/// Protocol 2.12 brought xloadflags, which tells whether there is a 64-bit entry point.
constexpr std::uint16_t kOldestProtocol = 0x020c;
/// A 2.12 header ends behind handover_offset.
constexpr std::uint64_t kOldestHeaderEnd = 0x268;
constexpr std::uint64_t kSectorSize = 512;
constexpr std::uint64_t kDefaultSetupSectors = 4;
constexpr std::uint64_t kEntry64Offset = 0x200;
constexpr std::uint8_t kLoaderUndefined = 0xff;

static_assert(sizeof(boot_params) == kPageSize);
static_assert(kMaxMemoryRanges <= E820_MAX_ENTRIES_ZEROPAGE);

/// What the header says, checked.
struct Image {
    setup_header header{};
    std::uint64_t offset = 0;   ///< of the protected-mode part in the file
    std::uint64_t size = 0;     ///< its bytes
    std::uint64_t address = 0;  ///< where it goes
    std::uint64_t end = 0;      ///< end of what it uses there before it looks at the memory map
};

Result<setup_header> read_header(const PayloadFile& kernel) {
    // The jump instruction at 0x200 skips the header; its operand counts from 0x202.
    const std::uint64_t end = kMagicOffset + HAKO_TRY(kernel.read<std::uint8_t>(kJumpOffset));
    if (end < kOldestHeaderEnd)
        return fail_input(
            "{}: its setup header ends at {:#x}, before the fields of boot protocol 2.12; "
            "use Linux 3.8 or later",
            kernel.name(), end);
    setup_header header{};
    const std::uint64_t length = std::min<std::uint64_t>(end - kHeaderOffset, sizeof(header));
    HAKO_TRY(kernel.read(kHeaderOffset, std::as_writable_bytes(std::span(&header, 1)).first(length)));
    return header;
}

/// Where the kernel runs: its preferred address, or higher where that is not aligned or below 1 MiB.
Result<std::uint64_t> load_address(const PayloadFile& kernel, const setup_header& header) {
    const std::uint64_t preferred = header.pref_address;
    const std::uint64_t alignment = header.kernel_alignment;
    if (header.relocatable_kernel == 0) {
        if (preferred < layout::kKernel)
            return fail_input("{} wants to be loaded at {:#x}, below 1 MiB: use a relocatable kernel",
                              kernel.name(), preferred);
        return preferred;
    }
    if (!std::has_single_bit(alignment))
        return fail_input("{}: kernel_alignment {:#x} is not a power of two: the file is damaged",
                          kernel.name(), alignment);
    // A kernel that moves itself never runs below its preferred address, so there is no use in loading it
    // lower.
    const std::uint64_t lowest = std::max(preferred, layout::kKernel);
    const auto padded = checked_add(lowest, alignment - 1);
    if (!padded) return fail_input("{}: pref_address {:#x} is damaged", kernel.name(), preferred);
    return align_down(*padded, alignment);
}

Result<Image> check_image(const GuestMemory& memory, const PayloadFile& kernel) {
    Image image{.header = HAKO_TRY(read_header(kernel))};
    const setup_header& header = image.header;
    if (std::uint16_t{header.boot_flag} != kBootFlag)
        return fail_input("{}: boot flag {:#x} instead of 0xaa55: the file is damaged", kernel.name(),
                          std::uint16_t{header.boot_flag});
    const std::uint16_t version = header.version;
    if (version < kOldestProtocol)
        return fail_input("{} has boot protocol {}.{:02}, hako needs 2.12 or later: use Linux 3.8 or later",
                          kernel.name(), version >> 8, version & 0xff);
    if ((header.loadflags & LOADED_HIGH) == 0)
        return fail_input("{} is a zImage, which loads low: use a bzImage", kernel.name());
    if ((header.xloadflags & XLF_KERNEL_64) == 0)
        return fail_input("{} has no 64-bit entry point: use an x86-64 kernel", kernel.name());

    const std::uint64_t sectors = header.setup_sects != 0 ? header.setup_sects : kDefaultSetupSectors;
    image.offset = (sectors + 1) * kSectorSize;
    image.size = std::uint64_t{header.syssize} * 16;
    if (image.size <= kEntry64Offset)
        return fail_input("{}: syssize gives {} bytes of kernel: the file is damaged", kernel.name(),
                          image.size);
    if (image.offset > kernel.size() || image.size > kernel.size() - image.offset)
        return fail_input(
            "{} is truncated: its header speaks of {} bytes, the file has {}; get a complete one",
            kernel.name(), image.offset + image.size, kernel.size());

    image.address = HAKO_TRY(load_address(kernel, header));
    const std::uint64_t needed = std::max<std::uint64_t>(image.size, header.init_size);
    const auto end = checked_add(image.address, needed);
    if (!end || *end > layout::kRamHole)
        return fail_input(
            "{} wants {} bytes at {:#x}, more than RAM can have there (to {:#x}): use another kernel",
            kernel.name(), needed, image.address, layout::kRamHole);
    if (*end > low_ram_end(memory))
        return fail_input("{} needs RAM up to {:#x}: give the guest at least {} (--memory)", kernel.name(),
                          *end, format_size(align_up(*end, MiB)));
    image.end = *end;
    return image;
}

}  // namespace

bool is_bzimage(const PayloadFile& kernel) {
    const auto magic = kernel.read<std::uint32_t>(kMagicOffset);
    return magic && *magic == kMagic;
}

Result<BootState> load_bzimage(GuestMemory& memory, const PayloadFile& kernel, const PayloadFile* initrd,
                               std::string_view command_line) {
    const Image image = HAKO_TRY(check_image(memory, kernel));
    HAKO_TRY(write_command_line(memory, command_line, std::uint32_t{image.header.cmdline_size}));
    Initrd ramdisk;
    if (initrd != nullptr)
        ramdisk = HAKO_TRY(
            load_initrd(memory, *initrd, image.end, std::uint64_t{image.header.initrd_addr_max} + 1));
    HAKO_TRY(kernel.load(memory, GuestAddress{image.address}, image.offset, image.size));

    boot_params params{};
    params.hdr = image.header;
    params.hdr.type_of_loader = kLoaderUndefined;
    params.hdr.cmd_line_ptr = static_cast<std::uint32_t>(layout::kCommandLine);
    // Both fit in 32 bits: the initrd lies below 3 GiB, so the ext_ramdisk fields stay 0.
    params.hdr.ramdisk_image = static_cast<std::uint32_t>(ramdisk.address.value);
    params.hdr.ramdisk_size = static_cast<std::uint32_t>(ramdisk.size);
    params.acpi_rsdp_addr = layout::kAcpi;
    std::uint8_t count = 0;
    for (const MemoryRange& range : memory_map(memory))
        params.e820_table[count++] = {
            .addr = range.start.value, .size = range.size, .type = static_cast<std::uint32_t>(range.type)};
    params.e820_entries = count;
    if (!memory.store(GuestAddress{layout::kZeroPage}, params))
        return fail_input("the boot parameters do not fit into RAM: give the guest more (--memory)");
    return BootState{Protocol::kLinux64, GuestAddress{image.address + kEntry64Offset},
                     GuestAddress{layout::kZeroPage}};
}

}  // namespace hako::boot
