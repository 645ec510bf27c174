#include "virtio/net/vhost.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <cstddef>
#include <cstring>

#include "virtio/net/protocol.h"

namespace hako::virtio::net {
namespace {

constexpr const char* kDevice = "/dev/vhost-net";
static_assert((kVhostFeatures & feature::kMergeableBuffers) != 0);

std::unexpected<Error> explain_open_error(int error) {
    switch (error) {
        case ENOENT:
        case ENODEV:
        case ENXIO:
            return fail_input("{} is missing: modprobe vhost_net, or leave vhost=on out", kDevice);
        case EACCES:
        case EPERM:
            return fail_input(
                "{} may not be used by this user: give hako's user the right to, or leave "
                "vhost=on out",
                kDevice);
        default:
            return fail_errno(error, "cannot open {}", kDevice);
    }
}

std::uint64_t user_address(const std::byte* host) {
    return reinterpret_cast<std::uintptr_t>(host);
}

}  // namespace

std::vector<vhost_memory_region> vhost_regions(const GuestMemory& memory) {
    std::vector<vhost_memory_region> regions;
    for (const MemoryRegion& region : memory.regions())
        regions.push_back({.guest_phys_addr = region.base.value,
                           .memory_size = region.size,
                           .userspace_addr = user_address(region.host),
                           .flags_padding = 0});
    return regions;
}

Result<Vhost> Vhost::open() {
    Fd fd(::open(kDevice, O_RDWR | O_CLOEXEC));
    if (!fd.valid()) return explain_open_error(errno);
    if (::ioctl(fd.get(), VHOST_SET_OWNER) != 0) return fail_errno(errno, "{}: VHOST_SET_OWNER", kDevice);
    std::uint64_t features = 0;
    if (::ioctl(fd.get(), VHOST_GET_FEATURES, &features) != 0)
        return fail_errno(errno, "{}: VHOST_GET_FEATURES", kDevice);
    if ((features & kVhostFeatures) != kVhostFeatures)
        return fail_host("{} offers features {:#x} of {:#x}: use Linux 6.1 or later, or leave vhost=on out",
                         kDevice, features & kVhostFeatures, kVhostFeatures);
    return Vhost(std::move(fd));
}

Result<> Vhost::set_up(const GuestMemory& memory, std::uint64_t negotiated) {
    const std::uint64_t features = vhost_features(negotiated);
    if (::ioctl(fd_.get(), VHOST_SET_FEATURES, &features) != 0)
        return fail_errno(errno, "vhost-net: VHOST_SET_FEATURES {:#x}", features);
    return set_memory(memory);
}

Result<> Vhost::set_memory(const GuestMemory& memory) {
    const auto regions = vhost_regions(memory);
    const vhost_memory head{.nregions = static_cast<std::uint32_t>(regions.size()), .padding = 0};
    const auto table = std::as_bytes(std::span(regions));
    std::vector<std::byte> bytes(sizeof head + table.size());
    std::memcpy(bytes.data(), &head, sizeof head);
    std::memcpy(bytes.data() + sizeof head, table.data(), table.size());
    if (::ioctl(fd_.get(), VHOST_SET_MEM_TABLE, bytes.data()) != 0)
        return fail_errno(errno, "vhost-net: VHOST_SET_MEM_TABLE with {} regions", regions.size());
    return {};
}

Result<> Vhost::set_up_queue(unsigned ring, GuestMemory& memory, const QueueConfig& config,
                             std::uint16_t next_avail, int kick, int error) {
    const vhost_vring_addr addresses = HAKO_TRY(vhost_ring_addresses(memory, ring, config));
    const vhost_vring_state size{.index = ring, .num = config.size};
    if (::ioctl(fd_.get(), VHOST_SET_VRING_NUM, &size) != 0)
        return fail_errno(errno, "vhost-net: VHOST_SET_VRING_NUM {}", config.size);
    const vhost_vring_state base{.index = ring, .num = next_avail};
    if (::ioctl(fd_.get(), VHOST_SET_VRING_BASE, &base) != 0)
        return fail_errno(errno, "vhost-net: VHOST_SET_VRING_BASE {}", next_avail);
    if (::ioctl(fd_.get(), VHOST_SET_VRING_ADDR, &addresses) != 0)
        return fail_errno(errno, "vhost-net: VHOST_SET_VRING_ADDR");
    const vhost_vring_file errors{.index = ring, .fd = error};
    if (::ioctl(fd_.get(), VHOST_SET_VRING_ERR, &errors) != 0)
        return fail_errno(errno, "vhost-net: VHOST_SET_VRING_ERR");
    const vhost_vring_file kicks{.index = ring, .fd = kick};
    if (::ioctl(fd_.get(), VHOST_SET_VRING_KICK, &kicks) != 0)
        return fail_errno(errno, "vhost-net: VHOST_SET_VRING_KICK");
    return {};
}

Result<> Vhost::set_call(unsigned ring, int eventfd) {
    const vhost_vring_file file{.index = ring, .fd = eventfd};
    if (::ioctl(fd_.get(), VHOST_SET_VRING_CALL, &file) != 0)
        return fail_errno(errno, "vhost-net: VHOST_SET_VRING_CALL");
    return {};
}

Result<> Vhost::start(int tap) {
    HAKO_TRY(set_backend(0, tap));
    return set_backend(1, tap);
}

Result<> Vhost::stop() {
    HAKO_TRY(set_backend(0, -1));
    return set_backend(1, -1);
}

Result<> Vhost::set_backend(unsigned ring, int tap) {
    const vhost_vring_file file{.index = ring, .fd = tap};
    if (::ioctl(fd_.get(), VHOST_NET_SET_BACKEND, &file) != 0)
        return fail_errno(errno, "vhost-net: VHOST_NET_SET_BACKEND");
    return {};
}

Result<std::uint16_t> Vhost::next_avail(unsigned ring) const {
    vhost_vring_state state{.index = ring, .num = 0};
    if (::ioctl(fd_.get(), VHOST_GET_VRING_BASE, &state) != 0)
        return fail_errno(errno, "vhost-net: VHOST_GET_VRING_BASE");
    return static_cast<std::uint16_t>(state.num);
}

}  // namespace hako::virtio::net
