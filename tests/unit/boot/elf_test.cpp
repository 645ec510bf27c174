#include "vmm/boot/elf.h"

#include <doctest/doctest.h>

#include <functional>

#include "loading.h"
#include "vmm/boot/pvh.h"
#include "vmm/memory/layout.h"

using namespace hako;
using namespace hako::testing;

TEST_CASE_TEMPLATE("an ELF kernel with a PVH note is loaded where its segments say", Image, Elf64Image,
                   Elf32Image) {
    Loading loading;
    const auto state = loading.kernel(Image().build()).load();
    REQUIRE_MESSAGE(state.has_value(), state.error().text());
    CHECK(*state ==
          boot::BootState{boot::Protocol::kPvh, GuestAddress{kElfEntry}, GuestAddress{layout::kPvhInfo}});
    CHECK(loading.memory().load<std::uint8_t>(GuestAddress{kElfAddress}) == 0xcc);
    CHECK(loading.memory().load<std::uint8_t>(GuestAddress{kElfAddress + kElfLoadSize - 1}) == 0xcc);
    CHECK(loading.memory().load<std::uint8_t>(GuestAddress{kElfAddress + kElfLoadSize}) == 0);
}

TEST_CASE("start info carries command line, initrd, memory map and RSDP") {
    Loading loading(5 * GiB);
    REQUIRE(loading.kernel(Elf64Image().build()).initrd(5000).command_line("hello").load());
    GuestMemory& memory = loading.memory();
    const auto info = memory.load<boot::pvh::StartInfo>(GuestAddress{layout::kPvhInfo});
    REQUIRE(info);
    CHECK(info->magic == 0x336ec578);
    CHECK(info->version == 1);
    CHECK(info->rsdp == layout::kAcpi);
    const auto text = memory.load<std::array<char, 6>>(GuestAddress{info->command_line});
    REQUIRE(text);
    CHECK(std::string_view(text->data()) == "hello");

    REQUIRE(info->module_count == 1);
    const auto module = memory.load<boot::pvh::Module>(GuestAddress{info->modules});
    REQUIRE(module);
    CHECK(module->address == 3 * GiB - 2 * kPageSize);
    CHECK(module->size == 5000);
    CHECK(memory.load<std::uint8_t>(GuestAddress{module->address + 4999}) == 0x5a);

    std::uint64_t ram = 0;
    for (std::uint32_t i = 0; i < info->memory_map_entries; ++i) {
        const auto entry = memory.load<boot::pvh::MemoryMapEntry>(
            GuestAddress{info->memory_map + i * sizeof(boot::pvh::MemoryMapEntry)});
        REQUIRE(entry);
        if (entry->type == 1) ram += entry->size;
    }
    CHECK(ram == 5 * GiB - (1 * MiB - 640 * KiB));
}

TEST_CASE("without an initrd there is no module") {
    Loading loading;
    REQUIRE(loading.kernel(Elf64Image().build()).load());
    const auto info = loading.memory().load<boot::pvh::StartInfo>(GuestAddress{layout::kPvhInfo});
    REQUIRE(info);
    CHECK(info->module_count == 0);
    CHECK(info->modules == 0);
}

TEST_CASE_TEMPLATE("wild ELF headers are refused with the reason", Image, Elf64Image, Elf32Image) {
    using Phdr = typename Image::Phdr;
    using Word = decltype(Phdr{}.p_filesz);
    constexpr Word kMax = static_cast<Word>(-1);
    struct Case {
        const char* what;
        std::function<void(Image&)> damage;
        const char* reason;
    };
    const Case cases[] = {
        {"class 0", [](Image& i) { i.header.e_ident[EI_CLASS] = 0; }, "ELF class"},
        {"big-endian", [](Image& i) { i.header.e_ident[EI_DATA] = ELFDATA2MSB; }, "little-endian"},
        {"another machine", [](Image& i) { i.header.e_machine = EM_AARCH64; }, "another machine"},
        {"no program headers", [](Image& i) { i.header.e_phnum = 0; }, "0 program headers"},
        {"65535 program headers", [](Image& i) { i.header.e_phnum = 0xffff; }, "65535 program headers"},
        {"more headers than file",
         [](Image& i) {
             i.header.e_phnum = 128;
             i.header.e_phoff = kElfLoadOffset + kElfLoadSize - sizeof(Phdr);
         },
         "truncated"},
        {"phoff at the end of all", [](Image& i) { i.header.e_phoff = kMax; }, "program headers"},
        {"phoff that wraps", [](Image& i) { i.header.e_phoff = kMax - sizeof(Phdr); }, "program headers"},
        {"phentsize 0", [](Image& i) { i.header.e_phentsize = 0; }, "program headers of 0 bytes"},
        {"phentsize too large", [](Image& i) { i.header.e_phentsize = 0xffff; }, "program headers of 65535"},
        {"more in the file than in memory", [](Image& i) { i.load.p_memsz = kElfLoadSize - 1; }, "damaged"},
        {"bytes for no memory",
         [](Image& i) {
             i.load.p_memsz = 0;
             i.entry = 0;
         },
         "bytes in the file and 0 in memory"},
        {"segment cut off", [](Image& i) { i.load.p_offset += 1; }, "truncated"},
        {"segment offset that wraps", [](Image& i) { i.load.p_offset = kMax; }, "truncated"},
        {"segment of all bytes", [](Image& i) { i.load.p_filesz = i.load.p_memsz = kMax; }, "truncated"},
        {"segment over the boot tables", [](Image& i) { i.load.p_paddr = 0x7000; }, "below 1 MiB"},
        {"segment at 0", [](Image& i) { i.load.p_paddr = 0; }, "below 1 MiB"},
        {"segment just below 1 MiB", [](Image& i) { i.load.p_paddr = 1 * MiB - 1; }, "below 1 MiB"},
        {"segment behind RAM", [](Image& i) { i.load.p_paddr = 64 * MiB; }, "at least 65 MiB"},
        {"segment across the end of RAM", [](Image& i) { i.load.p_paddr = 64 * MiB - kElfLoadSize; },
         "at least 65 MiB"},
        {"segment in the hole", [](Image& i) { i.load.p_paddr = 0xfee00000; }, "outside RAM"},
        {"segment address that wraps", [](Image& i) { i.load.p_paddr = kMax; }, "outside RAM"},
        {"endless .bss", [](Image& i) { i.load.p_memsz = kMax; }, "outside RAM"},
        {"entry outside", [](Image& i) { i.entry = 0x1000; }, "in no segment"},
        {"entry just behind", [](Image& i) { i.entry = kElfAddress + 2 * kElfLoadSize; }, "in no segment"},
        {"no note segment", [](Image& i) { i.note.p_type = PT_NULL; }, "PVH note"},
        {"empty note segment", [](Image& i) { i.note.p_filesz = 0; }, "PVH note"},
        {"note segment too large", [](Image& i) { i.note.p_filesz = kMax; }, "ELF notes"},
        {"note segment cut off", [](Image& i) { i.note.p_offset = kElfLoadOffset + kElfLoadSize; },
         "truncated"},
        {"note offset that wraps", [](Image& i) { i.note.p_offset = kMax; }, "truncated"},
        {"note name too long", [](Image& i) { i.note_header.n_namesz = UINT32_MAX; }, "PVH note"},
        {"note content too long", [](Image& i) { i.note_header.n_descsz = UINT32_MAX; }, "PVH note"},
        {"note content too short", [](Image& i) { i.note_header.n_descsz = 1; }, "PVH note"},
        {"note of another type", [](Image& i) { i.note_header.n_type = 17; }, "PVH note"},
        {"note cut off", [](Image& i) { i.note.p_filesz = 19; }, "PVH note"},
    };
    Loading loading;
    for (const Case& test : cases) {
        CAPTURE(test.what);
        Image image;
        test.damage(image);
        check_refused(loading.kernel(image.build()).load(), test.reason);
    }
}

TEST_CASE("a 64-bit entry point above 4 GiB is refused: PVH starts in 32-bit mode") {
    Loading loading(5 * GiB);
    Elf64Image image;
    image.load.p_paddr = 4 * GiB;
    image.note_header.n_descsz = 8;
    Bytes bytes = image.build();
    put(bytes, kElfNoteOffset + 16, std::uint64_t{4 * GiB + 0x20});
    check_refused(loading.kernel(bytes).load(), "in no segment");
}

TEST_CASE("other notes before the PVH note are passed over, in both paddings") {
    for (const std::uint64_t padding : {4u, 8u}) {
        CAPTURE(padding);
        Elf64Image image;
        image.note.p_align = padding;
        image.note.p_filesz = 0x100;
        Bytes bytes = image.build();
        std::memset(bytes.data() + kElfNoteOffset, 0, 0x100);
        const auto put_note = [&](std::size_t at, const char* owner, std::uint32_t type, std::uint32_t size) {
            const Elf64_Nhdr header{.n_namesz = 4, .n_descsz = size, .n_type = type};
            put(bytes, kElfNoteOffset + at, header);
            std::memcpy(bytes.data() + kElfNoteOffset + at + sizeof(header), owner, 4);
            return align_up(align_up(at + sizeof(header) + 4, padding) + size, padding);
        };
        // The same type under another name, then another type of ours, with odd sizes.
        std::size_t at = put_note(0, "GNU", 18, 4);
        at = put_note(at, "Xen", 5, 3);
        put_note(at, "Xen", 18, 4);
        put(bytes, kElfNoteOffset + align_up(at + 16, padding), kElfEntry);
        Loading loading;
        const auto state = loading.kernel(bytes).load();
        REQUIRE(state);
        CHECK(state->entry == GuestAddress{kElfEntry});
    }
}

TEST_CASE("an initrd for an ELF kernel lies behind all segments, .bss included") {
    Loading loading(4 * MiB);
    Elf64Image image;
    image.load.p_memsz = 2 * MiB;  // to 3 MiB
    loading.kernel(image.build());
    CHECK(loading.initrd(MiB).load());
    check_refused(loading.initrd(MiB + 1).load(), "give the guest at least 5 MiB (--memory)");
}
