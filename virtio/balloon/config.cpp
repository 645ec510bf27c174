#include "virtio/balloon/config.h"

namespace hako::virtio::balloon {

Result<> check(const Config& config, const MemoryConfig& memory) {
    if (memory.hugepages)
        return fail_input("a balloon does not go with huge pages: they cannot be given back page by page");
    if (config.size >= memory.total())
        return fail_input("a balloon of {} leaves nothing of {} of memory: make it smaller",
                          format_size(config.size), format_size(memory.total()));
    return {};
}

Result<Config> resized(const Config& config, std::uint64_t bytes, const MemoryConfig& memory) {
    Config next = config;
    next.size = align_down(bytes, kBalloonPage);
    HAKO_TRY(check(next, memory));
    return next;
}

}  // namespace hako::virtio::balloon
