// The bare-metal test guest: runs the test named on the command line and powers off.
#include "tests.h"

namespace {

/// struct hvm_start_info (Xen: public/arch-x86/hvm/start_info.h), the fields used here.
struct StartInfo {
    std::uint32_t magic;
    std::uint32_t version;
    std::uint32_t flags;
    std::uint32_t module_count;
    std::uint64_t modules;
    std::uint64_t command_line;
    std::uint64_t rsdp;
};

constexpr std::uint32_t kMagic = 0x336ec578;

/// True if `text` starts with `prefix`; moves `text` behind it.
bool skip(const char*& text, const char* prefix) {
    const char* at = text;
    for (; *prefix != 0; ++prefix, ++at)
        if (*at != *prefix) return false;
    text = at;
    return true;
}

}  // namespace

extern "C" void guest_main(const StartInfo* info) {
    CHECK(info->magic == kMagic);
    const char* command_line = reinterpret_cast<const char*>(info->command_line);
    const char* wanted = command_line;
    CHECK(skip(wanted, "test="));
    for (const guest::Test& test : guest::kTests) {
        const char* rest = wanted;
        if (!skip(rest, test.name) || (*rest != 0 && *rest != ' ')) continue;
        test.run();
        guest::print("PASS: ");
        guest::print(test.name);
        guest::print("\n");
        guest::power_off();
    }
    CHECK(!"a known test");
}
