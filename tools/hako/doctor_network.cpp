#include "tools/hako/doctor_network.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "tools/hako/doctor_file.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::doctor {

TapProbe probe_tap() {
    TapProbe probe;
    probe.net_admin = has_capability(CAP_NET_ADMIN);
    const Fd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    if (!fd.valid()) {
        probe.open_error = errno;
        return probe;
    }
    unsigned features = 0;
    if (::ioctl(fd.get(), TUNGETFEATURES, &features) == 0) {
        probe.vnet_header = (features & IFF_VNET_HDR) != 0;
        probe.multi_queue = (features & IFF_MULTI_QUEUE) != 0;
    }
    return probe;
}

Check judge_tap(const TapProbe& probe) {
    Check check{.name = "tap", .status = Status::kWarn, .found = {}, .advice = {}};
    if (probe.open_error != 0) {
        check.found = fmt::format("/dev/net/tun does not open: {}", errno_text(probe.open_error));
        check.advice =
            probe.open_error == ENOENT || probe.open_error == ENODEV
                ? "only networking needs it: modprobe tun; in a container pass the device in (--device "
                  "/dev/net/tun)"
                : "only networking needs it: give this user access to /dev/net/tun";
        return check;
    }
    if (!probe.vnet_header || !probe.multi_queue) {
        check.found = fmt::format("/dev/net/tun opens, without {}",
                                  probe.vnet_header ? "IFF_MULTI_QUEUE" : "IFF_VNET_HDR");
        check.advice = "networking needs it: use Linux 6.1 or later";
        return check;
    }
    if (!probe.net_admin) {
        check.found = "/dev/net/tun opens, but without CAP_NET_ADMIN no tap device can be created";
        check.advice =
            "have root create one for this user: ip tuntap add dev tap0 mode tap user USER vnet_hdr";
        return check;
    }
    check.status = Status::kOk;
    check.found = "/dev/net/tun opens, CAP_NET_ADMIN is there";
    return check;
}

int probe_vhost_net() {
    const Fd fd(::open("/dev/vhost-net", O_RDWR | O_CLOEXEC));
    return fd.valid() ? 0 : errno;
}

Check judge_vhost_net(int error) {
    return {.name = "vhost-net",
            .status = Status::kOk,
            .found = error == 0
                         ? "/dev/vhost-net opens: --net tap=NAME,vhost=on works"
                         : fmt::format("/dev/vhost-net does not open ({}): only vhost=on of --net needs it{}",
                                       errno_text(error), error == ENOENT ? " (modprobe vhost_net)" : ""),
            .advice = {}};
}

}  // namespace hako::doctor
