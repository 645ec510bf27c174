// Rights that networking of VMs needs: tap devices and vhost-net.
#pragma once

#include "tools/hako/doctor_check.h"

namespace hako::doctor {

struct TapProbe {
    int open_error = 0;        ///< errno of opening /dev/net/tun, or 0
    bool net_admin = false;    ///< CAP_NET_ADMIN: may create tap devices
    bool vnet_header = false;  ///< IFF_VNET_HDR
    bool multi_queue = false;  ///< IFF_MULTI_QUEUE
};
/// Creates no device.
TapProbe probe_tap();
Check judge_tap(const TapProbe& probe);

/// Says whether /dev/vhost-net opens; hako does not need it, so this is never worse than ok. `error`: errno,
/// or 0.
Check judge_vhost_net(int error);
int probe_vhost_net();

}  // namespace hako::doctor
