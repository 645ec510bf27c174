#include "api/metrics/counters.h"

#include "virtio/vsock/protocol.h"

namespace hako::api {
namespace {

using DeviceCounters = std::map<std::string, std::uint64_t>;

DeviceCounters of(const virtio::blk::BlockDevice& disk) {
    virtio::blk::Metrics sum;
    for (std::uint16_t queue = 0; queue < disk.queue_max_sizes().size(); ++queue)
        sum += disk.metrics(queue);
    return {{"read_ops", sum.reads},
            {"read_bytes", sum.read_bytes},
            {"write_ops", sum.writes},
            {"write_bytes", sum.written_bytes},
            {"flush_ops", sum.flushes},
            {"discard_ops", sum.discards},
            {"write_zeroes_ops", sum.write_zeroes},
            {"errors", sum.errors},
            {"throttled", sum.throttled}};
}

/// Queues alternate: receive, transmit; a control queue may follow (virtio 1.3, 5.1.2).
DeviceCounters of(const virtio::net::NetDevice& net) {
    virtio::net::Metrics rx;
    virtio::net::Metrics tx;
    const std::size_t queues = net.queue_max_sizes().size() / 2 * 2;
    for (std::size_t queue = 0; queue < queues; ++queue)
        (queue % 2 == 0 ? rx : tx) += net.metrics(static_cast<std::uint16_t>(queue));
    return {{"rx_frames", rx.packets}, {"rx_bytes", rx.bytes},   {"rx_dropped", rx.dropped},
            {"tx_frames", tx.packets}, {"tx_bytes", tx.bytes},   {"tx_dropped", tx.dropped},
            {"rx_errors", rx.errors},  {"tx_errors", tx.errors}, {"throttled", rx.throttled + tx.throttled}};
}

DeviceCounters of(const virtio::vsock::VsockDevice& vsock) {
    const virtio::vsock::Metrics rx = vsock.metrics(virtio::vsock::kReceive);
    const virtio::vsock::Metrics tx = vsock.metrics(virtio::vsock::kTransmit);
    const virtio::vsock::ConnectionMetrics connections = vsock.connections();
    return {{"rx_packets", rx.packets},
            {"rx_bytes", rx.bytes},
            {"rx_waits", rx.waits},
            {"tx_packets", tx.packets},
            {"tx_bytes", tx.bytes},
            {"tx_dropped", tx.dropped},
            {"tx_errors", tx.errors},
            {"connections", connections.open},
            {"connections_from_host", connections.from_host},
            {"connections_from_guest", connections.from_guest},
            {"connections_refused", connections.refused},
            {"connections_reset", connections.resets}};
}

DeviceCounters of(virtio::balloon::BalloonDevice& balloon) {
    using virtio::balloon::Role;
    const virtio::balloon::Metrics inflate = balloon.metrics(Role::kInflate);
    const virtio::balloon::Metrics deflate = balloon.metrics(Role::kDeflate);
    const virtio::balloon::Metrics reports = balloon.metrics(Role::kReporting);
    DeviceCounters all = {{"wanted_bytes", balloon.wanted()},
                          {"actual_bytes", balloon.actual()},
                          {"inflated_pages", inflate.pages},
                          {"deflated_pages", deflate.pages},
                          {"reported_pages", reports.pages},
                          {"discarded_pages", inflate.discarded + reports.discarded},
                          {"errors", inflate.errors + deflate.errors + reports.errors},
                          {"statistics", balloon.metrics(Role::kStatistics).requests}};
    for (const auto& [name, value] : balloon.statistics())
        all.emplace(name, value);
    return all;
}

DeviceCounters of(const virtio::mem::MemDevice& mem) {
    const virtio::mem::Metrics metrics = mem.metrics();
    return {{"requested_bytes", mem.requested()},   {"plugged_bytes", mem.plugged()},
            {"region_bytes", mem.region_size()},    {"requests", metrics.requests},
            {"refused", metrics.refused},           {"errors", metrics.errors},
            {"discarded_bytes", metrics.discarded}, {"kept_bytes", metrics.kept}};
}

}  // namespace

Counters counters(const Machine& machine) {
    Counters all;
    machine.devices().for_each<virtio::blk::BlockDevice>(
        [&](const virtio::blk::BlockDevice& disk) { all.emplace(disk.id(), of(disk)); });
    machine.devices().for_each<virtio::net::NetDevice>(
        [&](const virtio::net::NetDevice& net) { all.emplace(net.id(), of(net)); });
    machine.devices().for_each<virtio::vsock::VsockDevice>(
        [&](const virtio::vsock::VsockDevice& vsock) { all.emplace(vsock.id(), of(vsock)); });
    machine.devices().for_each<virtio::balloon::BalloonDevice>(
        [&](virtio::balloon::BalloonDevice& balloon) { all.emplace(balloon.id(), of(balloon)); });
    if (const watchdog::Device* const watchdog = machine.watchdog()) {
        const watchdog::Metrics values = watchdog->metrics();
        all.emplace(watchdog->name(), DeviceCounters{{"kicks", values.kicks}, {"warnings", values.warnings}});
    }
    machine.devices().for_each<virtio::mem::MemDevice>(
        [&](const virtio::mem::MemDevice& mem) { all.emplace(mem.id(), of(mem)); });
    return all;
}

}  // namespace hako::api
