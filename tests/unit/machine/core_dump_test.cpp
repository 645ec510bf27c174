#include "vmm/machine/core_dump.h"

#include <doctest/doctest.h>
#include <elf.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "vmm/base/units.h"

using namespace hako;

namespace {

struct Folder {
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "hako-core-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    std::filesystem::path path;
};

std::string contents(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

template <typename T>
T at(const std::string& bytes, std::size_t offset) {
    REQUIRE(offset + sizeof(T) <= bytes.size());
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
}

CpuRegisters cpu(std::uint64_t rip, std::uint64_t cr3) {
    CpuRegisters registers{};
    registers.general.rip = rip;
    registers.general.rax = 0x1111;
    registers.special.cs.selector = 0x10;
    registers.special.cr3 = cr3;
    return registers;
}

}  // namespace

TEST_CASE("a core has the registers of each vCPU and the memory at its guest-physical address") {
    const Folder folder;
    const std::string path = folder.path / "core";
    GuestMemory memory = GuestMemory::create({.size = 8 * MiB, .thp = false}).value();
    REQUIRE(memory.store<std::uint64_t>(GuestAddress{5 * MiB + 8}, 0x123456789abcdef0));
    const std::vector<CpuRegisters> cpus = {cpu(0xffffffff81000000, 0x1000), cpu(0x1234, 0x2000)};
    const auto written = write_core(path, memory, cpus);
    REQUIRE_MESSAGE(written, written.error().text());

    struct ::stat info{};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK(info.st_blocks * 512 < static_cast<blkcnt_t>(1 * MiB));  // what nobody touched takes no room

    const std::string core = contents(path);
    const auto header = at<Elf64_Ehdr>(core, 0);
    CHECK(std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0);
    CHECK(header.e_type == ET_CORE);
    CHECK(header.e_machine == EM_X86_64);
    REQUIRE(header.e_phnum == 2);
    const auto notes = at<Elf64_Phdr>(core, header.e_phoff);
    const auto load = at<Elf64_Phdr>(core, header.e_phoff + sizeof(Elf64_Phdr));
    REQUIRE(notes.p_type == PT_NOTE);
    REQUIRE(load.p_type == PT_LOAD);
    CHECK(load.p_paddr == 0);
    CHECK(load.p_filesz == 8 * MiB);
    CHECK(load.p_offset % 4096 == 0);
    CHECK(core.size() == load.p_offset + 8 * MiB);
    CHECK(at<std::uint64_t>(core, load.p_offset + 5 * MiB + 8) == 0x123456789abcdef0);

    std::size_t offset = notes.p_offset;
    std::vector<std::string> names;
    std::vector<user_regs_struct> status;
    std::vector<std::uint64_t> cr3;
    while (offset < notes.p_offset + notes.p_filesz) {
        const auto note = at<Elf64_Nhdr>(core, offset);
        offset += sizeof note;
        names.emplace_back(core.data() + offset);
        CHECK(note.n_namesz == names.back().size() + 1);
        offset += align_up(note.n_namesz, 4);
        if (note.n_type == NT_PRSTATUS) {
            REQUIRE(note.n_descsz == sizeof(elf_prstatus));
            CHECK(at<elf_prstatus>(core, offset).pr_pid == static_cast<int>(status.size() + 1));
            status.push_back(at<user_regs_struct>(core, offset + offsetof(elf_prstatus, pr_reg)));
        } else {
            // Version, size, 18 registers, 10 segments of 24 bytes, then cr0, cr1, cr2, cr3.
            CHECK(at<std::uint32_t>(core, offset) == 1);
            CHECK(at<std::uint32_t>(core, offset + 4) == note.n_descsz);
            cr3.push_back(at<std::uint64_t>(core, offset + 8 + 18 * 8 + 10 * 24 + 3 * 8));
        }
        offset += align_up(note.n_descsz, 4);
    }
    CHECK(names == std::vector<std::string>{"CORE", "CORE", "QEMU", "QEMU"});
    REQUIRE(status.size() == 2);
    CHECK(status[0].rip == 0xffffffff81000000);
    CHECK(status[0].rax == 0x1111);
    CHECK(status[0].cs == 0x10);
    CHECK(status[1].rip == 0x1234);
    CHECK(cr3 == std::vector<std::uint64_t>{0x1000, 0x2000});
}

TEST_CASE("a core never takes the place of a file, and none is left when it fails") {
    const Folder folder;
    const std::string path = folder.path / "core";
    const GuestMemory memory = GuestMemory::create({.size = 1 * MiB, .thp = false}).value();
    std::ofstream(path) << "precious";
    const auto refused = write_core(path, memory, {});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().fault() == Fault::kInput);
    CHECK(contents(path) == "precious");
    CHECK_FALSE(write_core(folder.path / "none" / "core", memory, {}));
    std::filesystem::create_symlink(folder.path / "target", folder.path / "link");
    CHECK_FALSE(write_core(folder.path / "link", memory, {}));
    CHECK_FALSE(std::filesystem::exists(folder.path / "target"));
}
