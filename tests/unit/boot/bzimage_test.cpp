#include "vmm/boot/bzimage.h"

#include <doctest/doctest.h>

#include <functional>

#include "loading.h"
#include "vmm/memory/layout.h"

using namespace hako;
using namespace hako::testing;

namespace {

std::string guest_string(const GuestMemory& memory, std::uint64_t address) {
    std::string text;
    for (;; ++address) {
        const auto character = memory.load<char>(GuestAddress{address});
        if (!character || *character == '\0') return text;
        text.push_back(*character);
    }
}

}  // namespace

TEST_CASE("a bzImage is loaded at its preferred address and entered at its 64-bit entry point") {
    Loading loading;
    const auto state = loading.kernel(bzimage()).command_line("console=ttyS0").load();
    REQUIRE_MESSAGE(state.has_value(), state.error().text());
    CHECK(*state == boot::BootState{boot::Protocol::kLinux64, GuestAddress{kPreferred + 0x200},
                                    GuestAddress{layout::kZeroPage}});
    const auto first = loading.memory().load<std::uint8_t>(GuestAddress{kPreferred});
    const auto last = loading.memory().load<std::uint8_t>(GuestAddress{kPreferred + kKernelSize - 1});
    const auto behind = loading.memory().load<std::uint8_t>(GuestAddress{kPreferred + kKernelSize});
    CHECK(first == 0xcc);
    CHECK(last == 0xcc);
    CHECK(behind == 0);
}

TEST_CASE("the zero page carries header, command line, memory map, initrd and RSDP") {
    Loading loading(5 * GiB);
    constexpr std::size_t kInitrdSize = 5000;
    REQUIRE(loading.kernel(bzimage()).initrd(kInitrdSize).command_line("quiet root=/dev/vda1").load());
    const auto params = loading.memory().load<boot_params>(GuestAddress{layout::kZeroPage});
    REQUIRE(params);
    CHECK(std::uint32_t{params->hdr.header} == 0x53726448);
    CHECK(params->hdr.type_of_loader == 0xff);
    CHECK(guest_string(loading.memory(), params->hdr.cmd_line_ptr) == "quiet root=/dev/vda1");
    CHECK(std::uint64_t{params->acpi_rsdp_addr} == layout::kAcpi);

    // As high as initrd_addr_max (2 GiB here) lets it, on a page boundary.
    CHECK(std::uint32_t{params->hdr.ramdisk_size} == kInitrdSize);
    CHECK(std::uint32_t{params->hdr.ramdisk_image} == 2 * GiB - 2 * kPageSize);
    CHECK(std::uint32_t{params->ext_ramdisk_image} == 0);
    CHECK(loading.memory().load<std::uint8_t>(GuestAddress{2 * GiB - 2 * kPageSize + kInitrdSize - 1}) ==
          0x5a);

    struct Range {
        std::uint64_t start, end;
        std::uint32_t type;
        bool operator==(const Range&) const = default;
    };
    std::vector<Range> map;
    for (std::size_t i = 0; i < params->e820_entries; ++i) {
        const boot_e820_entry entry = params->e820_table[i];
        map.push_back({entry.addr, entry.addr + entry.size, entry.type});
    }
    const std::vector<Range> expected = {
        {0, 640 * KiB, 1},
        {layout::kBios, layout::kBiosEnd, 2},
        {1 * MiB, 3 * GiB, 1},
        {layout::kEcam, layout::kEcamEnd, 2},
        {layout::kIdentityMap, layout::kTss + 3 * kPageSize, 2},
        {4 * GiB, 6 * GiB, 1},
    };
    CHECK(map == expected);
}

TEST_CASE("an initrd lies below the end of RAM when that comes first") {
    Loading loading(32 * MiB);
    REQUIRE(loading.kernel(bzimage()).initrd(kPageSize + 1).load());
    const auto params = loading.memory().load<boot_params>(GuestAddress{layout::kZeroPage});
    REQUIRE(params);
    CHECK(std::uint32_t{params->hdr.ramdisk_image} == 32 * MiB - 2 * kPageSize);
}

TEST_CASE("setup_sects 0 stands for 4") {
    setup_header header = sound_header();
    header.setup_sects = 0;
    Bytes image(5 * 512 + kKernelSize, std::byte{0xdd});
    put(image, kSetupHeader, header);
    Loading loading;
    REQUIRE(loading.kernel(image).load());
    CHECK(loading.memory().load<std::uint8_t>(GuestAddress{kPreferred + kKernelSize - 1}) == 0xdd);
    image.resize(image.size() - 1);
    check_refused(loading.kernel(image).load(), "truncated");
}

TEST_CASE("a bzImage cut off anywhere is refused") {
    constexpr std::size_t kSetupHeaderEnd = 0x202 + 0x6a;
    const Bytes whole = bzimage();
    Loading loading;
    for (std::size_t length = 1; length < whole.size(); ++length) {
        // Every length in the header, then a few around each boundary.
        const bool interesting = length < 0x290 || length % 512 < 2 || length % 512 == 511;
        if (!interesting) continue;
        CAPTURE(length);
        const auto result =
            loading.kernel(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length))).load();
        check_refused(result, length < 0x206             ? "neither a bzImage nor an ELF"
                              : length < kSetupHeaderEnd ? "is truncated"
                                                         : "is truncated: its header speaks of");
    }
}

TEST_CASE("headers that make no sense are refused with the reason") {
    struct Case {
        const char* what;
        std::function<void(setup_header&)> damage;
        const char* reason;
    };
    const Case cases[] = {
        {"magic", [](setup_header& h) { h.header = 0x12345678; }, "neither a bzImage nor an ELF"},
        {"boot flag", [](setup_header& h) { h.boot_flag = 0; }, "boot flag"},
        {"old protocol", [](setup_header& h) { h.version = 0x020b; }, "boot protocol 2.11"},
        {"ancient protocol", [](setup_header& h) { h.version = 0; }, "boot protocol 0.00"},
        {"short header", [](setup_header& h) { h.jump = 0x10eb; }, "setup header ends"},
        {"zImage", [](setup_header& h) { h.loadflags = 0; }, "zImage"},
        {"32-bit kernel", [](setup_header& h) { h.xloadflags = 0; }, "no 64-bit entry point"},
        {"no kernel", [](setup_header& h) { h.syssize = 0; }, "syssize"},
        {"kernel ends before its entry", [](setup_header& h) { h.syssize = 0x200 / 16; }, "syssize"},
        {"one paragraph too many", [](setup_header& h) { h.syssize = kKernelSize / 16 + 1; }, "truncated"},
        {"huge syssize", [](setup_header& h) { h.syssize = UINT32_MAX; }, "truncated"},
        {"all sectors are setup", [](setup_header& h) { h.setup_sects = 255; }, "truncated"},
        {"alignment 0", [](setup_header& h) { h.kernel_alignment = 0; }, "kernel_alignment"},
        {"alignment 3", [](setup_header& h) { h.kernel_alignment = 3; }, "kernel_alignment"},
        {"address at the top", [](setup_header& h) { h.pref_address = UINT64_MAX; }, "pref_address"},
        {"address above RAM", [](setup_header& h) { h.pref_address = 8 * GiB; }, "another kernel"},
        {"address near the top",
         [](setup_header& h) {
             h.pref_address = UINT64_MAX - 0xfff;
             h.kernel_alignment = 1;
         },
         "another kernel"},
        {"low and fixed",
         [](setup_header& h) {
             h.pref_address = 0x9000;
             h.relocatable_kernel = 0;
         },
         "below 1 MiB"},
        {"huge init_size", [](setup_header& h) { h.init_size = UINT32_MAX; }, "another kernel"},
        {"more than this RAM", [](setup_header& h) { h.init_size = 64 * MiB; }, "at least 80 MiB"},
    };
    Loading loading;
    for (const Case& test : cases) {
        CAPTURE(test.what);
        setup_header header = sound_header();
        test.damage(header);
        check_refused(loading.kernel(bzimage(header)).load(), test.reason);
    }
}

TEST_CASE("a relocatable kernel that prefers low memory goes to 1 MiB or above, aligned") {
    setup_header header = sound_header();
    header.pref_address = 0;
    Loading loading;
    const auto state = loading.kernel(bzimage(header)).load();
    REQUIRE(state);
    CHECK(state->entry == GuestAddress{2 * MiB + 0x200});
}

TEST_CASE("memory too small for the kernel is refused, and exactly enough is not") {
    const Bytes image = bzimage();
    Loading small(16 * MiB);
    check_refused(small.kernel(image).load(), "give the guest at least 17 MiB (--memory)");
    Loading enough(17 * MiB);
    CHECK(enough.kernel(image).load());
    Loading smallest(kMinMemory);
    check_refused(smallest.kernel(image).load(), "--memory");
}

TEST_CASE("a command line longer than the kernel takes is refused") {
    Loading loading;
    loading.kernel(bzimage());
    CHECK(loading.command_line(std::string(2047, 'x')).load());
    check_refused(loading.command_line(std::string(2048, 'x')).load(),
                  "2048 bytes long, this kernel takes 2047");
    check_refused(loading.command_line(std::string("a\0b", 3)).load(), "NUL");
    // A kernel that takes more than there is room for.
    setup_header header = sound_header();
    header.cmdline_size = UINT32_MAX;
    loading.kernel(bzimage(header));
    CHECK(loading.command_line(std::string(layout::kCommandLineMax - 1, 'x')).load());
    check_refused(loading.command_line(std::string(layout::kCommandLineMax, 'x')).load(), "shorten it");
}

TEST_CASE("an initrd that does not fit is refused with what would help") {
    constexpr std::size_t kRoom = 3 * MiB;  // 20 MiB of RAM, the kernel ends at 17 MiB
    Loading loading(20 * MiB);
    loading.kernel(bzimage());
    CHECK(loading.initrd(kRoom).load());
    check_refused(loading.initrd(kRoom + 1).load(), "give the guest at least 21 MiB (--memory)");
    // The kernel's own limit: more memory would not help.
    setup_header header = sound_header();
    header.initrd_addr_max = 18 * MiB - 1;
    loading.kernel(bzimage(header));
    CHECK(loading.initrd(MiB).load());
    check_refused(loading.initrd(MiB + 1).load(), "use a smaller one");
    header.initrd_addr_max = 0;
    check_refused(loading.kernel(bzimage(header)).initrd(1).load(), "use a smaller one");
}
