// hvm_start_info: what a PVH guest finds in memory. (Xen: public/arch-x86/hvm/start_info.h)
#pragma once

#include <cstdint>

namespace hako::boot::pvh {

inline constexpr std::uint32_t kMagic = 0x336ec578;  // "xEn3", bit 7 of the E set
inline constexpr std::uint32_t kVersion = 1;         // with the memory map

struct StartInfo {
    std::uint32_t magic = kMagic;
    std::uint32_t version = kVersion;
    std::uint32_t flags = 0;
    std::uint32_t module_count = 0;
    std::uint64_t modules = 0;       ///< address of Module[]
    std::uint64_t command_line = 0;  ///< address, NUL-terminated
    std::uint64_t rsdp = 0;
    std::uint64_t memory_map = 0;  ///< address of MemoryMapEntry[]
    std::uint32_t memory_map_entries = 0;
    std::uint32_t reserved = 0;
};
static_assert(sizeof(StartInfo) == 56);

struct Module {
    std::uint64_t address = 0;
    std::uint64_t size = 0;
    std::uint64_t command_line = 0;
    std::uint64_t reserved = 0;
};
static_assert(sizeof(Module) == 32);

struct MemoryMapEntry {
    std::uint64_t address = 0;
    std::uint64_t size = 0;
    std::uint32_t type = 0;
    std::uint32_t reserved = 0;
};
static_assert(sizeof(MemoryMapEntry) == 24);

/// The note that holds the 32-bit entry point (Xen: public/elfnote.h).
inline constexpr std::uint32_t kNotePhys32Entry = 18;

}  // namespace hako::boot::pvh
