#include "vmm/boot/loader.h"

#include <optional>

#include "vmm/boot/bzimage.h"
#include "vmm/boot/elf.h"
#include "vmm/boot/payload_file.h"

namespace hako::boot {

Result<BootState> load(GuestMemory& memory, const PayloadConfig& payload) {
    const PayloadFile kernel = HAKO_TRY(PayloadFile::open(payload.kernel, "kernel"));
    std::optional<PayloadFile> initrd;
    if (!payload.initrd.empty()) initrd = HAKO_TRY(PayloadFile::open(payload.initrd, "initrd"));
    const PayloadFile* ramdisk = initrd ? &*initrd : nullptr;
    if (is_elf(kernel)) return load_elf(memory, kernel, ramdisk, payload.command_line);
    if (is_bzimage(kernel)) return load_bzimage(memory, kernel, ramdisk, payload.command_line);
    return fail_input(
        "{} is neither a bzImage nor an ELF kernel with a PVH note: name a kernel hako can boot",
        kernel.name());
}

Result<> check(const PayloadConfig& payload, std::uint64_t memory_size) {
    GuestMemory memory = HAKO_TRY(GuestMemory::create({.size = memory_size, .thp = false}));
    HAKO_TRY(load(memory, payload));
    return {};
}

}  // namespace hako::boot
