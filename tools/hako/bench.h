// `hako bench`: measures a device of guests under hako, side by side with QEMU.
#pragma once

#include <vector>

#include "tools/hako/bench_command.h"
#include "tools/hako/bench_table.h"
#include "tools/hako/exit_code.h"
#include "vmm/base/result.h"

namespace hako::bench {

/// virtio-blk on files of `command.directory`; needs fio in the guest and on the host.
Result<std::vector<Row>> measure_blk(const Command& command);
/// virtio-net on taps; needs iperf3 in the guest and on the host, and CAP_NET_ADMIN.
Result<std::vector<Row>> measure_net(const Command& command);
/// virtio-vsock; needs socat in the guest, and beside QEMU the host's vhost-vsock.
Result<std::vector<Row>> measure_vsock(const Command& command);
/// virtio-fs on folders of `command.directory`; needs fio in the guest and virtiofsd on the host.
Result<std::vector<Row>> measure_fs(const Command& command);

/// Prints the tables, or the error.
ExitCode run_bench(const Command& command);

}  // namespace hako::bench
