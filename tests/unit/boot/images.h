// Small kernels made by the tests: sound, until a test damages them.
#pragma once

#include <asm/bootparam.h>
#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "vmm/base/units.h"

namespace hako::testing {

using Bytes = std::vector<std::byte>;

template <typename T>
void put(Bytes& image, std::size_t offset, const T& value) {
    std::memcpy(image.data() + offset, &value, sizeof(value));
}

/// A bzImage: boot sector, one setup sector, 2 KiB of "kernel" full of 0xcc. Preferred address 16 MiB, wants
/// 1 MiB.
inline constexpr std::size_t kSetupHeader = 0x1f1;
inline constexpr std::size_t kSetupSize = 2 * 512;
inline constexpr std::uint32_t kKernelSize = 2048;
inline constexpr std::uint64_t kPreferred = 16 * MiB;
inline constexpr std::uint32_t kInitSize = 1 * MiB;

inline setup_header sound_header() {
    setup_header header{};
    header.setup_sects = 1;
    header.syssize = kKernelSize / 16;
    header.boot_flag = 0xaa55;
    header.jump = 0x6aeb;  // over the header: jmp 0x26c
    header.header = 0x53726448;
    header.version = 0x020f;
    header.loadflags = LOADED_HIGH;
    header.initrd_addr_max = 0x7fffffff;
    header.kernel_alignment = 2 * MiB;
    header.relocatable_kernel = 1;
    header.xloadflags = XLF_KERNEL_64;
    header.cmdline_size = 2047;
    header.pref_address = kPreferred;
    header.init_size = kInitSize;
    return header;
}

inline Bytes bzimage(const setup_header& header = sound_header()) {
    Bytes image(kSetupSize + kKernelSize, std::byte{0xcc});
    std::memset(image.data(), 0, kSetupSize);
    put(image, kSetupHeader, header);
    return image;
}

/// An ELF of either class: a note segment with the PVH entry and one PT_LOAD of 4 KiB (8 KiB in memory) at 1
/// MiB.
inline constexpr std::uint64_t kElfAddress = 1 * MiB;
inline constexpr std::uint32_t kElfEntry = 1 * MiB + 0x20;
inline constexpr std::size_t kElfNoteOffset = 0x200;
inline constexpr std::size_t kElfLoadOffset = 0x1000;
inline constexpr std::size_t kElfLoadSize = 0x1000;
inline constexpr std::size_t kElfNoteSize = 32;

template <typename Ehdr_, typename Phdr_, unsigned char kClass, std::uint16_t kMachine>
struct ElfImage {
    using Ehdr = Ehdr_;
    using Phdr = Phdr_;

    Ehdr header{};
    Phdr note{};
    Phdr load{};
    Elf64_Nhdr note_header{.n_namesz = 4, .n_descsz = 4, .n_type = 18};
    std::uint32_t entry = kElfEntry;

    ElfImage() {
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = kClass;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        header.e_ident[EI_VERSION] = EV_CURRENT;
        header.e_type = ET_EXEC;
        header.e_machine = kMachine;
        header.e_version = EV_CURRENT;
        header.e_phoff = sizeof(Ehdr);
        header.e_ehsize = sizeof(Ehdr);
        header.e_phentsize = sizeof(Phdr);
        header.e_phnum = 2;
        note.p_type = PT_NOTE;
        note.p_offset = kElfNoteOffset;
        note.p_filesz = kElfNoteSize;
        note.p_memsz = kElfNoteSize;
        note.p_align = 4;
        load.p_type = PT_LOAD;
        load.p_offset = kElfLoadOffset;
        load.p_paddr = kElfAddress;
        load.p_filesz = kElfLoadSize;
        load.p_memsz = 2 * kElfLoadSize;
        load.p_align = kPageSize;
    }

    [[nodiscard]] Bytes build() const {
        Bytes image(kElfLoadOffset + kElfLoadSize, std::byte{0xcc});
        std::memset(image.data(), 0, kElfLoadOffset);
        put(image, 0, header);
        put(image, sizeof(Ehdr), note);
        put(image, sizeof(Ehdr) + sizeof(Phdr), load);
        put(image, kElfNoteOffset, note_header);
        std::memcpy(image.data() + kElfNoteOffset + sizeof(note_header), "Xen", 4);
        put(image, kElfNoteOffset + sizeof(note_header) + 4, entry);
        return image;
    }
};

using Elf64Image = ElfImage<Elf64_Ehdr, Elf64_Phdr, ELFCLASS64, EM_X86_64>;
using Elf32Image = ElfImage<Elf32_Ehdr, Elf32_Phdr, ELFCLASS32, EM_386>;

}  // namespace hako::testing
