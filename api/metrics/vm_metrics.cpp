#include "api/metrics/vm_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "api/metrics/request_metrics.h"

namespace hako::api {
namespace {

/// The values of one queue of a device.
template <typename Metrics>
struct QueueValues {
    std::string device;
    std::string queue;
    std::string kind;  ///< of a network interface: "rx", "tx" or "control"
    Metrics values;
};

using BlockQueues = std::vector<QueueValues<virtio::blk::Metrics>>;
using NetQueues = std::vector<QueueValues<virtio::net::Metrics>>;
using VsockQueues = std::vector<QueueValues<virtio::vsock::Metrics>>;
using VsockConnections = std::vector<std::pair<std::string, virtio::vsock::ConnectionMetrics>>;

template <typename Metrics>
struct Counter {
    std::string_view name;
    std::string_view help;
    std::uint64_t Metrics::* member;
};

void write_vcpus(PrometheusText& text, const Machine& machine) {
    const std::vector<VcpuMetrics> vcpus = machine.vcpu_metrics();
    text.counter("hako_vcpu_exits_total", "Exits from the guest to hako, by KVM's reason.");
    for (const VcpuMetrics& vcpu : vcpus)
        for (const auto& [reason, count] : vcpu.exits)
            text.sample({{"vcpu", std::to_string(vcpu.id)}, {"reason", reason}}, count);
    text.counter("hako_vcpu_cpu_seconds_total", "CPU time of the vCPU's thread, the guest's included.");
    for (const VcpuMetrics& vcpu : vcpus)
        text.sample({{"vcpu", std::to_string(vcpu.id)}},
                    std::chrono::duration<double>(vcpu.cpu_time).count());
}

void write_blocks(PrometheusText& text, const BlockQueues& queues) {
    using virtio::blk::Metrics;
    static constexpr std::array<Counter<Metrics>, 10> kCounters = {{
        {"hako_block_reads_total", "Read requests.", &Metrics::reads},
        {"hako_block_writes_total", "Write requests.", &Metrics::writes},
        {"hako_block_flushes_total", "Flush requests.", &Metrics::flushes},
        {"hako_block_discards_total", "Discard requests.", &Metrics::discards},
        {"hako_block_write_zeroes_total", "Write-zeroes requests.", &Metrics::write_zeroes},
        {"hako_block_read_bytes_total", "Bytes read.", &Metrics::read_bytes},
        {"hako_block_written_bytes_total", "Bytes written.", &Metrics::written_bytes},
        {"hako_block_errors_total", "Requests that did not end well.", &Metrics::errors},
        {"hako_block_interrupts_total", "Interrupts raised.", &Metrics::interrupts},
        {"hako_block_throttled_total", "Waits for the rate limit.", &Metrics::throttled},
    }};
    for (const auto& counter : kCounters) {
        text.counter(counter.name, counter.help);
        for (const auto& queue : queues)
            text.sample({{"device", queue.device}, {"queue", queue.queue}}, queue.values.*counter.member);
    }
    text.histogram("hako_block_request_duration_seconds", "From taken off the queue to answered.");
    for (const auto& queue : queues)
        write_latency(text, {{"device", queue.device}, {"queue", queue.queue}}, queue.values.latency);
}

void write_nets(PrometheusText& text, const NetQueues& queues) {
    using virtio::net::Metrics;
    static constexpr std::array<Counter<Metrics>, 6> kCounters = {{
        {"hako_net_packets_total", "Packets that went through; of a control queue: commands.",
         &Metrics::packets},
        {"hako_net_bytes_total", "Bytes of these packets.", &Metrics::bytes},
        {"hako_net_dropped_total", "Packets that could not be handed on.", &Metrics::dropped},
        {"hako_net_errors_total", "Chains that were no packet, commands that were refused.",
         &Metrics::errors},
        {"hako_net_interrupts_total", "Interrupts raised.", &Metrics::interrupts},
        {"hako_net_throttled_total", "Waits for the rate limit.", &Metrics::throttled},
    }};
    for (const auto& counter : kCounters) {
        text.counter(counter.name, counter.help);
        for (const auto& queue : queues)
            text.sample({{"device", queue.device}, {"queue", queue.queue}, {"kind", queue.kind}},
                        queue.values.*counter.member);
    }
}

void write_vsocks(PrometheusText& text, const VsockQueues& queues, const VsockConnections& devices) {
    using virtio::vsock::ConnectionMetrics;
    using virtio::vsock::Metrics;
    static constexpr std::array<Counter<Metrics>, 6> kCounters = {{
        {"hako_vsock_packets_total", "Packets that went through; of the event queue: events.",
         &Metrics::packets},
        {"hako_vsock_bytes_total", "Payload of these packets.", &Metrics::bytes},
        {"hako_vsock_dropped_total", "Packets from an address that is not the guest's.", &Metrics::dropped},
        {"hako_vsock_errors_total", "Chains that were no packet.", &Metrics::errors},
        {"hako_vsock_waits_total", "Waits for the guest to take packets.", &Metrics::waits},
        {"hako_vsock_interrupts_total", "Interrupts raised.", &Metrics::interrupts},
    }};
    for (const auto& counter : kCounters) {
        text.counter(counter.name, counter.help);
        for (const auto& queue : queues)
            text.sample({{"device", queue.device}, {"queue", queue.queue}, {"kind", queue.kind}},
                        queue.values.*counter.member);
    }
    static constexpr std::array<Counter<ConnectionMetrics>, 4> kConnectionCounters = {{
        {"hako_vsock_connections_from_host_total", "Connections of the host that the guest took.",
         &ConnectionMetrics::from_host},
        {"hako_vsock_connections_from_guest_total", "Connections of the guest that the host took.",
         &ConnectionMetrics::from_guest},
        {"hako_vsock_connections_refused_total", "Connections that nobody took.",
         &ConnectionMetrics::refused},
        {"hako_vsock_connections_reset_total", "Connections that ended before their time.",
         &ConnectionMetrics::resets},
    }};
    for (const auto& counter : kConnectionCounters) {
        text.counter(counter.name, counter.help);
        for (const auto& [id, values] : devices)
            text.sample({{"device", id}}, values.*counter.member);
    }
    text.gauge("hako_vsock_connections", "Connections, those that are only asked for or about to end too.");
    for (const auto& [id, values] : devices)
        text.sample({{"device", id}}, values.open);
}

struct BalloonValues {
    std::string device;
    std::uint64_t wanted = 0;
    std::uint64_t actual = 0;
    std::array<virtio::balloon::Metrics, virtio::balloon::BalloonDevice::kRoles> queues;  ///< by role
    std::vector<std::pair<std::string_view, std::uint64_t>> statistics;
};

void write_balloons(PrometheusText& text, const std::vector<BalloonValues>& balloons) {
    using virtio::balloon::Metrics;
    static constexpr std::array<std::string_view, 4> kKinds = {"inflate", "deflate", "statistics",
                                                               "reporting"};
    static constexpr std::array<Counter<Metrics>, 5> kCounters = {{
        {"hako_balloon_requests_total", "Requests of the driver; its answers, of the statistics.",
         &Metrics::requests},
        {"hako_balloon_pages_total", "Pages of 4 KiB that requests named.", &Metrics::pages},
        {"hako_balloon_discarded_pages_total", "Of these, given back to the host.", &Metrics::discarded},
        {"hako_balloon_errors_total", "Pages that are not the guest's, buffers that were no request.",
         &Metrics::errors},
        {"hako_balloon_interrupts_total", "Interrupts raised.", &Metrics::interrupts},
    }};
    for (const auto& counter : kCounters) {
        text.counter(counter.name, counter.help);
        for (const BalloonValues& balloon : balloons)
            for (std::size_t role = 0; role < kKinds.size(); ++role)
                text.sample({{"device", balloon.device}, {"kind", kKinds[role]}},
                            balloon.queues[role].*counter.member);
    }
    text.gauge("hako_balloon_wanted_bytes", "Memory that the guest is to do without.");
    for (const BalloonValues& balloon : balloons)
        text.sample({{"device", balloon.device}}, balloon.wanted);
    text.gauge("hako_balloon_actual_bytes", "Memory that the guest says it does without.");
    for (const BalloonValues& balloon : balloons)
        text.sample({{"device", balloon.device}}, balloon.actual);
    text.gauge(
        "hako_guest_statistic",
        "What the guest says of its memory, by name (bytes, or a count since its boot), when it was last "
        "asked; each reading asks.");
    for (const BalloonValues& balloon : balloons)
        for (const auto& [name, value] : balloon.statistics)
            text.sample({{"device", balloon.device}, {"name", name}}, value);
}

std::vector<BalloonValues> balloon_values(const Machine& machine) {
    std::vector<BalloonValues> all;
    machine.devices().for_each<virtio::balloon::BalloonDevice>([&](virtio::balloon::BalloonDevice& balloon) {
        BalloonValues& values = all.emplace_back();
        values.device = balloon.id();
        values.wanted = balloon.wanted();
        values.actual = balloon.actual();
        for (std::size_t role = 0; role < values.queues.size(); ++role)
            values.queues[role] = balloon.metrics(static_cast<virtio::balloon::Role>(role));
        values.statistics = balloon.statistics();
    });
    return all;
}

/// `watchdog`: null if there is none.
void write_watchdog(PrometheusText& text, const watchdog::Device* watchdog) {
    if (watchdog == nullptr) return;
    const watchdog::Metrics values = watchdog->metrics();
    text.counter("hako_watchdog_kicks_total", "Reloads of the watchdog by the guest.");
    text.sample({{"device", watchdog->name()}}, values.kicks);
    text.counter("hako_watchdog_warnings_total", "First stages of the watchdog that ended without one.");
    text.sample({{"device", watchdog->name()}}, values.warnings);
}

void write_mems(PrometheusText& text, const Machine& machine) {
    using virtio::mem::Metrics;
    struct Values {
        std::string device;
        std::uint64_t requested = 0;
        std::uint64_t plugged = 0;
        Metrics metrics;
    };
    static constexpr std::array<Counter<Metrics>, 6> kCounters = {{
        {"hako_mem_requests_total", "Requests of the driver.", &Metrics::requests},
        {"hako_mem_refused_total", "Of these, refused for now.", &Metrics::refused},
        {"hako_mem_errors_total", "Requests that were wrong.", &Metrics::errors},
        {"hako_mem_discarded_bytes_total", "Unplugged memory that was given back to the host.",
         &Metrics::discarded},
        {"hako_mem_kept_bytes_total", "Unplugged memory that the host would not take back.", &Metrics::kept},
        {"hako_mem_interrupts_total", "Interrupts raised.", &Metrics::interrupts},
    }};
    std::vector<Values> all;
    machine.devices().for_each<virtio::mem::MemDevice>([&](const virtio::mem::MemDevice& mem) {
        all.push_back({mem.id(), mem.requested(), mem.plugged(), mem.metrics()});
    });
    for (const auto& counter : kCounters) {
        text.counter(counter.name, counter.help);
        for (const Values& mem : all)
            text.sample({{"device", mem.device}}, mem.metrics.*counter.member);
    }
    text.gauge("hako_mem_requested_bytes", "Memory that the guest is to plug.");
    for (const Values& mem : all)
        text.sample({{"device", mem.device}}, mem.requested);
    text.gauge("hako_mem_plugged_bytes", "Memory that the guest has plugged.");
    for (const Values& mem : all)
        text.sample({{"device", mem.device}}, mem.plugged);
}

BlockQueues block_queues(const Machine& machine) {
    BlockQueues queues;
    machine.devices().for_each<virtio::blk::BlockDevice>([&](const virtio::blk::BlockDevice& disk) {
        for (std::uint16_t queue = 0; queue < disk.queue_max_sizes().size(); ++queue)
            queues.push_back({disk.id(), std::to_string(queue), "", disk.metrics(queue)});
    });
    return queues;
}

NetQueues net_queues(const Machine& machine) {
    NetQueues queues;
    machine.devices().for_each<virtio::net::NetDevice>([&](const virtio::net::NetDevice& net) {
        const auto count = static_cast<std::uint16_t>(net.queue_max_sizes().size());
        for (std::uint16_t queue = 0; queue < count; ++queue) {
            const bool control = count % 2 == 1 && queue == count - 1;
            queues.push_back({net.id(), std::to_string(queue),
                              control          ? "control"
                              : queue % 2 == 0 ? "rx"
                                               : "tx",
                              net.metrics(queue)});
        }
    });
    return queues;
}

VsockQueues vsock_queues(const Machine& machine) {
    constexpr std::array<std::string_view, 3> kKinds = {"rx", "tx", "event"};
    VsockQueues queues;
    machine.devices().for_each<virtio::vsock::VsockDevice>([&](const virtio::vsock::VsockDevice& vsock) {
        for (std::uint16_t queue = 0; queue < kKinds.size(); ++queue)
            queues.push_back(
                {vsock.id(), std::to_string(queue), std::string(kKinds[queue]), vsock.metrics(queue)});
    });
    return queues;
}

VsockConnections vsock_connections(const Machine& machine) {
    VsockConnections devices;
    machine.devices().for_each<virtio::vsock::VsockDevice>([&](const virtio::vsock::VsockDevice& vsock) {
        devices.emplace_back(vsock.id(), vsock.connections());
    });
    return devices;
}

}  // namespace

void write_machine(PrometheusText& text, const Machine& machine) {
    text.gauge("hako_guest_memory_bytes", "Memory that the guest has.");
    text.sample({}, machine.memory_bytes());
    write_vcpus(text, machine);
    write_blocks(text, block_queues(machine));
    write_nets(text, net_queues(machine));
    write_vsocks(text, vsock_queues(machine), vsock_connections(machine));
    write_balloons(text, balloon_values(machine));
    write_watchdog(text, machine.watchdog());
    write_mems(text, machine);
}

void write_process(PrometheusText& text) {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    text.counter("process_cpu_seconds_total", "CPU time of all threads, the guest's included.");
    text.sample({}, seconds(usage.ru_utime) + seconds(usage.ru_stime));
    std::uint64_t pages = 0;
    std::uint64_t resident = 0;
    std::ifstream("/proc/self/statm") >> pages >> resident;
    const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    text.gauge("process_virtual_memory_bytes", "Address space in use.");
    text.sample({}, pages * page);
    text.gauge("process_resident_memory_bytes", "Memory in use, the guest's included.");
    text.sample({}, resident * page);
    const auto entries = [](const char* folder) {
        std::error_code error;
        std::uint64_t count = 0;
        for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
             it.increment(error))
            ++count;
        return count;
    };
    text.gauge("process_open_fds", "Open files.");
    text.sample({}, entries("/proc/self/fd"));
    text.gauge("process_threads", "Threads.");
    text.sample({}, entries("/proc/self/task"));
}

}  // namespace hako::api
