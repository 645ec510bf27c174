#include "vmm/machine/core_dump.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/procfs.h>
#include <sys/user.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "vmm/base/fd.h"
#include "vmm/base/units.h"

namespace hako {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kPage = 4 * KiB;
/// Of one write.
constexpr std::uint64_t kPiece = 16 * MiB;

template <typename T>
void append(Bytes& bytes, const T& value) {
    const auto data = std::as_bytes(std::span(&value, 1));
    bytes.insert(bytes.end(), data.begin(), data.end());
}

/// ELF pads names and contents of notes to 4 bytes.
void append_note(Bytes& bytes, std::string_view name, std::uint32_t type,
                 std::span<const std::byte> content) {
    const auto pad = [&bytes] { bytes.resize(align_up(bytes.size(), 4)); };
    append(bytes, Elf64_Nhdr{.n_namesz = static_cast<Elf64_Word>(name.size() + 1),
                             .n_descsz = static_cast<Elf64_Word>(content.size()),
                             .n_type = type});
    const auto text = std::as_bytes(std::span(name));
    bytes.insert(bytes.end(), text.begin(), text.end());
    bytes.push_back(std::byte{0});
    pad();
    bytes.insert(bytes.end(), content.begin(), content.end());
    pad();
}

elf_prstatus status_of(const CpuRegisters& cpu, std::size_t number) {
    const auto& [r, s] = cpu;
    user_regs_struct regs{};
    regs.r15 = r.r15;
    regs.r14 = r.r14;
    regs.r13 = r.r13;
    regs.r12 = r.r12;
    regs.rbp = r.rbp;
    regs.rbx = r.rbx;
    regs.r11 = r.r11;
    regs.r10 = r.r10;
    regs.r9 = r.r9;
    regs.r8 = r.r8;
    regs.rax = r.rax;
    regs.rcx = r.rcx;
    regs.rdx = r.rdx;
    regs.rsi = r.rsi;
    regs.rdi = r.rdi;
    regs.orig_rax = ~0ULL;  // not in a system call
    regs.rip = r.rip;
    regs.cs = s.cs.selector;
    regs.eflags = r.rflags;
    regs.rsp = r.rsp;
    regs.ss = s.ss.selector;
    regs.fs_base = s.fs.base;
    regs.gs_base = s.gs.base;
    regs.ds = s.ds.selector;
    regs.es = s.es.selector;
    regs.fs = s.fs.selector;
    regs.gs = s.gs.selector;
    elf_prstatus status{};
    status.pr_pid = static_cast<pid_t>(number + 1);
    static_assert(sizeof status.pr_reg == sizeof regs);
    std::memcpy(&status.pr_reg, &regs, sizeof regs);
    return status;
}

/// The content of a QEMU note, version 1.
struct SystemSegment {
    std::uint32_t selector;
    std::uint32_t limit;
    std::uint32_t flags;  ///< as in the second word of a descriptor
    std::uint32_t pad;
    std::uint64_t base;
};

struct SystemState {
    std::uint32_t version;
    std::uint32_t size;
    std::array<std::uint64_t, 18> general;   ///< rax rbx rcx rdx rsi rdi rsp rbp r8-r15 rip rflags
    std::array<SystemSegment, 10> segments;  ///< cs ds es fs gs ss ldt tr gdt idt
    std::array<std::uint64_t, 5> control;    ///< cr0-cr4
};
static_assert(sizeof(SystemState) == 8 + 18 * 8 + 10 * 24 + 5 * 8);

SystemSegment segment(const kvm_segment& s) {
    const auto bit = [](std::uint8_t value, unsigned shift) { return std::uint32_t{value} << shift; };
    return {.selector = s.selector,
            .limit = s.limit,
            .flags = bit(s.type, 8) | bit(s.s, 12) | bit(s.dpl, 13) | bit(s.present, 15) | bit(s.avl, 20) |
                     bit(s.l, 21) | bit(s.db, 22) | bit(s.g, 23),
            .pad = 0,
            .base = s.base};
}

SystemSegment table(const kvm_dtable& t) {
    return {.selector = 0, .limit = t.limit, .flags = 0, .pad = 0, .base = t.base};
}

SystemState system_state(const CpuRegisters& cpu) {
    const auto& [r, s] = cpu;
    return {.version = 1,
            .size = sizeof(SystemState),
            .general = {r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rsp, r.rbp, r.r8, r.r9, r.r10, r.r11,
                        r.r12, r.r13, r.r14, r.r15, r.rip, r.rflags},
            .segments = {segment(s.cs), segment(s.ds), segment(s.es), segment(s.fs), segment(s.gs),
                         segment(s.ss), segment(s.ldt), segment(s.tr), table(s.gdt), table(s.idt)},
            .control = {s.cr0, 0, s.cr2, s.cr3, s.cr4}};
}

Bytes notes_of(std::span<const CpuRegisters> cpus) {
    Bytes notes;
    for (std::size_t number = 0; number < cpus.size(); ++number) {
        const elf_prstatus status = status_of(cpus[number], number);
        append_note(notes, "CORE", NT_PRSTATUS, std::as_bytes(std::span(&status, 1)));
    }
    for (const CpuRegisters& cpu : cpus) {
        const SystemState state = system_state(cpu);
        append_note(notes, "QEMU", 0, std::as_bytes(std::span(&state, 1)));
    }
    return notes;
}

/// ELF header, program headers and notes, up to where the memory begins: at the next page.
Bytes head_of(const GuestMemory& memory, const Bytes& notes) {
    const std::size_t segments = 1 + memory.regions().size();
    const std::uint64_t notes_at = sizeof(Elf64_Ehdr) + segments * sizeof(Elf64_Phdr);
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_CORE;
    header.e_machine = EM_X86_64;
    header.e_version = EV_CURRENT;
    header.e_phoff = sizeof header;
    header.e_ehsize = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = static_cast<Elf64_Half>(segments);
    Bytes bytes;
    append(bytes, header);
    append(bytes, Elf64_Phdr{.p_type = PT_NOTE,
                             .p_flags = 0,
                             .p_offset = notes_at,
                             .p_vaddr = 0,
                             .p_paddr = 0,
                             .p_filesz = notes.size(),
                             .p_memsz = notes.size(),
                             .p_align = 4});
    std::uint64_t offset = align_up(notes_at + notes.size(), kPage);
    for (const MemoryRegion& region : memory.regions()) {
        append(bytes, Elf64_Phdr{.p_type = PT_LOAD,
                                 .p_flags = PF_R | PF_W | PF_X,
                                 .p_offset = offset,
                                 .p_vaddr = region.base.value,
                                 .p_paddr = region.base.value,
                                 .p_filesz = region.size,
                                 .p_memsz = region.size,
                                 .p_align = kPage});
        offset += region.size;
    }
    bytes.insert(bytes.end(), notes.begin(), notes.end());
    bytes.resize(align_up(bytes.size(), kPage));
    return bytes;
}

Result<> write_at(int fd, std::uint64_t offset, std::span<const std::byte> data) {
    while (!data.empty()) {
        const ssize_t written =
            ::pwrite(fd, data.data(), std::min<std::size_t>(data.size(), kPiece), static_cast<off_t>(offset));
        if (written < 0) {
            if (errno == EINTR) continue;
            return fail_errno(errno, "cannot write at byte {}", offset);
        }
        offset += static_cast<std::uint64_t>(written);
        data = data.subspan(static_cast<std::size_t>(written));
    }
    return {};
}

/// What was touched of a region (see GuestMemory::touched()), to `offset` in the file.
Result<> write_region(int fd, std::uint64_t offset, const MemoryRegion& region,
                      std::span<const std::uint64_t> touched) {
    const std::uint64_t pages = region.size / kPage;
    const auto is_touched = [&](std::uint64_t page) { return (touched[page / 64] >> page % 64 & 1) != 0; };
    for (std::uint64_t page = 0; page < pages;) {
        if (touched[page / 64] >> page % 64 == 0) {
            page = (page / 64 + 1) * 64;
            continue;
        }
        if (!is_touched(page)) {
            ++page;
            continue;
        }
        const std::uint64_t first = page;
        while (page < pages && is_touched(page))
            ++page;
        HAKO_TRY(write_at(fd, offset + first * kPage, {region.host + first * kPage, (page - first) * kPage}));
    }
    return {};
}

Result<> write_all(int fd, const GuestMemory& memory, std::span<const CpuRegisters> cpus) {
    const Bytes head = head_of(memory, notes_of(cpus));
    HAKO_TRY(write_at(fd, 0, head));
    std::uint64_t offset = head.size();
    const auto touched = memory.touched();
    for (std::size_t i = 0; i < touched.size(); ++i) {
        const MemoryRegion& region = memory.regions()[i];
        HAKO_TRY(write_region(fd, offset, region, touched[i]));
        offset += region.size;
    }
    if (::ftruncate(fd, static_cast<off_t>(offset)) != 0) return fail_errno(errno, "cannot set its size");
    return {};
}

}  // namespace

Result<> write_core(const std::string& path, const GuestMemory& memory, std::span<const CpuRegisters> cpus) {
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.valid())
        return std::unexpected(
            Error(Fault::kInput, fmt::format("{}: name a file that is not there yet", errno_text(errno)))
                .wrap(fmt::format("core dump {}: cannot be made", path)));
    Result<> written = write_all(file.get(), memory, cpus);
    if (written) return {};
    ::unlink(path.c_str());
    return std::unexpected(std::move(written).error().wrap(fmt::format("core dump {}", path)));
}

}  // namespace hako
