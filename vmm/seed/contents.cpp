#include "vmm/seed/contents.h"

#include "vmm/seed/bytes.h"
#include "vmm/seed/collector.h"
#include "vmm/seed/fat_layout.h"
#include "vmm/seed/iso.h"

namespace hako::seed {

Result<Contents> read_contents(std::string_view image) {
    constexpr std::size_t kPrimary = 16 * kSector;
    if (image.size() > kMaxRead) return fail_input("the image is larger than {}", format_size(kMaxRead));
    if (image.size() >= kPrimary + kSector && image.substr(kPrimary + 1, 5) == "CD001")
        return read_iso(image);
    if (image.size() >= fat::kSignature + 2 && load_le16(image, fat::kSignature) == 0xaa55 &&
        load8(image, fat::kExtended) == 0x29)
        return read_fat(image);
    return fail_input("the image is neither ISO 9660 nor FAT");
}

}  // namespace hako::seed
