#include "vmm/boot/elf.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "vmm/boot/command_line.h"
#include "vmm/boot/initrd.h"
#include "vmm/boot/memory_map.h"
#include "vmm/boot/pvh.h"
#include "vmm/memory/layout.h"

namespace hako::boot {
namespace {

/// Bounds on what is read before anything is trusted; kernels have a handful of segments and bytes of notes.
constexpr std::uint64_t kMaxSegments = 128;
constexpr std::uint64_t kMaxNoteBytes = 64 * KiB;

/// A program header of either class.
struct Segment {
    std::uint32_t type = 0;
    std::uint64_t offset = 0;
    std::uint64_t address = 0;  ///< physical
    std::uint64_t file_size = 0;
    std::uint64_t memory_size = 0;
    std::uint64_t alignment = 0;
};

template <typename Ehdr, typename Phdr>
Result<std::vector<Segment>> read_segments(const PayloadFile& kernel) {
    const Ehdr header = HAKO_TRY(kernel.read<Ehdr>(0));
    if (header.e_machine != EM_X86_64 && header.e_machine != EM_386)
        return fail_input("{} is for another machine (ELF e_machine {}): use an x86 kernel", kernel.name(),
                          header.e_machine);
    if (header.e_phnum == 0 || header.e_phnum > kMaxSegments)
        return fail_input("{} has {} program headers, hako takes 1 to {}: this is no kernel", kernel.name(),
                          header.e_phnum, kMaxSegments);
    if (header.e_phentsize != sizeof(Phdr))
        return fail_input("{}: program headers of {} bytes instead of {}: the file is damaged", kernel.name(),
                          header.e_phentsize, sizeof(Phdr));
    std::vector<Phdr> headers(header.e_phnum);
    HAKO_TRY_WRAP(kernel.read(header.e_phoff, std::as_writable_bytes(std::span(headers))), "program headers");
    std::vector<Segment> segments;
    segments.reserve(headers.size());
    for (const Phdr& phdr : headers)
        segments.push_back({.type = phdr.p_type,
                            .offset = phdr.p_offset,
                            .address = phdr.p_paddr,
                            .file_size = phdr.p_filesz,
                            .memory_size = phdr.p_memsz,
                            .alignment = phdr.p_align});
    return segments;
}

Result<std::vector<Segment>> read_segments(const PayloadFile& kernel) {
    const auto ident = HAKO_TRY(kernel.read<std::array<unsigned char, EI_NIDENT>>(0));
    if (ident[EI_DATA] != ELFDATA2LSB)
        return fail_input("{} is not little-endian: use an x86 kernel", kernel.name());
    if (ident[EI_CLASS] == ELFCLASS64) return read_segments<Elf64_Ehdr, Elf64_Phdr>(kernel);
    if (ident[EI_CLASS] == ELFCLASS32) return read_segments<Elf32_Ehdr, Elf32_Phdr>(kernel);
    return fail_input("{}: ELF class {} is neither 32 nor 64 bit: the file is damaged", kernel.name(),
                      ident[EI_CLASS]);
}

/// The entry point in the notes of one PT_NOTE segment, if it is there.
std::optional<std::uint64_t> find_entry(std::span<const std::byte> notes, std::uint64_t alignment) {
    // gABI: notes are padded to 4 bytes, in segments aligned to 8 to those.
    const std::uint64_t padding = alignment == 8 ? 8 : 4;
    static_assert(sizeof(Elf32_Nhdr) == sizeof(Elf64_Nhdr));
    while (notes.size() >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note;
        std::memcpy(&note, notes.data(), sizeof(note));
        // Sums of 32-bit sizes in 64 bits: no overflow.
        const std::uint64_t content = align_up(sizeof(note) + std::uint64_t{note.n_namesz}, padding);
        const std::uint64_t end = content + note.n_descsz;
        if (end > notes.size()) return std::nullopt;
        constexpr std::string_view kOwner("Xen\0", 4);
        const bool ours = note.n_type == pvh::kNotePhys32Entry && note.n_namesz == kOwner.size() &&
                          std::memcmp(notes.data() + sizeof(note), kOwner.data(), kOwner.size()) == 0;
        if (ours && (note.n_descsz == 4 || note.n_descsz == 8)) {
            std::uint64_t entry = 0;
            std::memcpy(&entry, notes.data() + content, note.n_descsz);
            return entry;
        }
        notes = notes.subspan(std::min<std::uint64_t>(align_up(end, padding), notes.size()));
    }
    return std::nullopt;
}

Result<std::uint64_t> read_entry(const PayloadFile& kernel, std::span<const Segment> segments) {
    for (const Segment& segment : segments) {
        if (segment.type != PT_NOTE) continue;
        if (segment.file_size > kMaxNoteBytes)
            return fail_input("{}: {} bytes of ELF notes, hako reads up to {}: the file is damaged",
                              kernel.name(), segment.file_size, kMaxNoteBytes);
        std::vector<std::byte> notes(segment.file_size);
        HAKO_TRY_WRAP(kernel.read(segment.offset, notes), "ELF notes");
        if (const auto entry = find_entry(notes, segment.alignment)) return *entry;
    }
    return fail_input("{} is neither a bzImage nor an ELF kernel with a PVH note (CONFIG_PVH in Linux)",
                      kernel.name());
}

/// Checks one PT_LOAD segment against file and RAM.
Result<> check_segment(const GuestMemory& memory, const PayloadFile& kernel, const Segment& segment) {
    if (segment.file_size > segment.memory_size)
        return fail_input("{}: a segment with {} bytes in the file and {} in memory: the file is damaged",
                          kernel.name(), segment.file_size, segment.memory_size);
    const auto file_end = checked_add(segment.offset, segment.file_size);
    if (!file_end || *file_end > kernel.size())
        return fail_input(
            "{} is truncated: a segment of {} bytes at offset {} lies beyond its end at {}; "
            "get a complete one",
            kernel.name(), segment.file_size, segment.offset, kernel.size());
    if (segment.address < layout::kKernel)
        return fail_input("{}: a segment at {:#x}, below 1 MiB, where the boot tables are: link it higher",
                          kernel.name(), segment.address);
    if (!memory.readable(GuestAddress{segment.address}, segment.memory_size)) {
        const auto end = checked_add(segment.address, segment.memory_size);
        if (!end || *end > layout::kRamHole)
            return fail_input("{}: a segment of {} bytes at {:#x} lies outside RAM: link the kernel lower",
                              kernel.name(), segment.memory_size, segment.address);
        return fail_input("{} needs RAM up to {:#x}: give the guest at least {} (--memory)", kernel.name(),
                          *end, format_size(align_up(*end, MiB)));
    }
    return {};
}

bool contains(const Segment& segment, std::uint64_t address) {
    return segment.type == PT_LOAD && address >= segment.address &&
           address - segment.address < segment.memory_size;
}

bool write_start_info(GuestMemory& memory, const Initrd& ramdisk) {
    // One after the other: start info, module list (one entry or none), memory map.
    constexpr GuestAddress kInfo{layout::kPvhInfo};
    constexpr GuestAddress kModules = kInfo + sizeof(pvh::StartInfo);
    constexpr GuestAddress kMap = kModules + sizeof(pvh::Module);
    static_assert(kMap.value + kMaxMemoryRanges * sizeof(pvh::MemoryMapEntry) <= layout::kZeroPage);

    std::vector<pvh::MemoryMapEntry> map;
    for (const MemoryRange& range : memory_map(memory))
        map.push_back({.address = range.start.value,
                       .size = range.size,
                       .type = static_cast<std::uint32_t>(range.type)});
    const pvh::StartInfo info{.module_count = ramdisk.size != 0 ? 1u : 0u,
                              .modules = ramdisk.size != 0 ? kModules.value : 0,
                              .command_line = layout::kCommandLine,
                              .rsdp = layout::kAcpi,
                              .memory_map = kMap.value,
                              .memory_map_entries = static_cast<std::uint32_t>(map.size())};
    const pvh::Module module{.address = ramdisk.address.value, .size = ramdisk.size};
    return memory.store(kInfo, info) && memory.store(kModules, module) &&
           memory.write(kMap, std::as_bytes(std::span(map)));
}

}  // namespace

bool is_elf(const PayloadFile& kernel) {
    const auto magic = kernel.read<std::array<char, SELFMAG>>(0);
    return magic && std::memcmp(magic->data(), ELFMAG, SELFMAG) == 0;
}

Result<BootState> load_elf(GuestMemory& memory, const PayloadFile& kernel, const PayloadFile* initrd,
                           std::string_view command_line) {
    const std::vector<Segment> segments = HAKO_TRY(read_segments(kernel));
    const std::uint64_t entry = HAKO_TRY(read_entry(kernel, segments));
    std::uint64_t low_end = layout::kKernel;
    for (const Segment& segment : segments) {
        if (segment.type != PT_LOAD || (segment.memory_size == 0 && segment.file_size == 0)) continue;
        HAKO_TRY(check_segment(memory, kernel, segment));
        if (segment.address < layout::kRamHole)
            low_end = std::max(low_end, segment.address + segment.memory_size);
    }
    const bool reachable =
        std::ranges::any_of(segments, [&](const Segment& s) { return contains(s, entry); });
    if (!reachable || entry > std::numeric_limits<std::uint32_t>::max())
        return fail_input("{}: its PVH entry point {:#x} is in no segment below 4 GiB: the file is damaged",
                          kernel.name(), entry);

    HAKO_TRY(write_command_line(memory, command_line, layout::kCommandLineMax));
    Initrd ramdisk;
    if (initrd != nullptr) ramdisk = HAKO_TRY(load_initrd(memory, *initrd, low_end, layout::kRamHole));
    for (const Segment& segment : segments)
        if (segment.type == PT_LOAD && segment.file_size != 0)
            HAKO_TRY(kernel.load(memory, GuestAddress{segment.address}, segment.offset, segment.file_size));
    if (!write_start_info(memory, ramdisk))
        return fail_input("the PVH start info does not fit into RAM: give the guest more (--memory)");
    return BootState{Protocol::kPvh, GuestAddress{entry}, GuestAddress{layout::kPvhInfo}};
}

}  // namespace hako::boot
