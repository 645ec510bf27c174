// Live migration: where a VM goes to or comes from, and how far it is.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "api/json/fields.h"
#include "api/schema/snapshot.h"

namespace hako::api {

enum class MigrationTimeout { kCancel, kIgnore, kPostcopy };
enum class MemoryMode { kPrecopy, kPostcopy };

struct SendMigrationData {
    std::string destination_url;  ///< "unix:PATH", "tcp:HOST:PORT", "tcp:[IPV6]:PORT"
    bool local = false;
    std::uint32_t downtime_ms = 300;  ///< aimed for
    std::uint32_t timeout_s = 3600;   ///< for all of it
    MigrationTimeout timeout_strategy = MigrationTimeout::kCancel;
    std::uint32_t connections = 1;
    std::optional<std::string> tls_dir;
    MemoryMode memory_mode = MemoryMode::kPrecopy;
    std::uint64_t bandwidth = 0;  ///< hako's own: bytes a second; 0: no limit
    bool auto_converge = false;   ///< hako's own: vCPUs may be slowed down

    bool operator==(const SendMigrationData&) const = default;
};

struct ReceiveMigrationData {
    std::string receiver_url;
    std::optional<std::string> tls_dir;
    MemoryMode memory_mode = MemoryMode::kPrecopy;
    /// hako's own: the VM's taps here, by descriptors that come with the request.
    std::optional<std::vector<RestoredNetConfig>> net_fds;
    /// hako's own: path of the vsock's socket here.
    std::optional<std::string> vsock_socket;
    /// hako's own: where the daemons of shared directories listen here.
    std::optional<std::vector<RestoredFsConfig>> fs_sockets;

    bool operator==(const ReceiveMigrationData&) const = default;
};

/// Fields as controllers parse them already.
struct MemoryTransmission {
    std::uint64_t memory_iteration = 0;
    std::uint64_t memory_transmission_bps = 0;
    std::uint64_t memory_bytes_total = 0;
    std::uint64_t memory_bytes_transmitted = 0;
    std::uint64_t memory_bytes_remaining_iteration = 0;
    std::uint64_t memory_pages_4k_transmitted = 0;
    std::uint64_t memory_pages_4k_remaining_iteration = 0;
    std::uint64_t memory_pages_constant_count = 0;
    std::uint64_t memory_dirty_rate_pps = 0;
};

/// How long a state of docs/migration.md lasted.
struct MigrationStep {
    std::string step;
    std::uint64_t us = 0;
};

/// Of a migration that goes on after the guest runs at the destination.
struct MigrationPostcopy {
    std::uint64_t pages_missing = 0;  ///< at the destination, still
    std::uint64_t fault_count = 0;    ///< waits for a page from the source that are over
    std::uint64_t fault_p50_us = 0;   ///< how long they took
    std::uint64_t fault_p99_us = 0;
    std::uint64_t fault_max_us = 0;
    std::uint64_t interruptions = 0;  ///< how often the connection broke
};

struct MigrationProgress {
    std::string role;    ///< "source", "destination"
    std::string status;  ///< see migration::status_name()
    std::string phase;
    std::string step;  ///< the state of docs/migration.md
    std::string transportation_mode;
    std::uint64_t timestamp_begin_ms = 0;     ///< since 1970
    std::uint64_t timestamp_snapshot_ms = 0;  ///< when this was read
    std::uint64_t downtime_configured_ms = 0;
    std::uint64_t downtime_estimated_ms = 0;
    std::uint64_t downtime_us = 0;  ///< as it was; 0: not known (yet)
    std::uint64_t vcpu_throttle_percent = 0;
    MemoryTransmission memory_transmission_info;
    std::optional<MigrationPostcopy> postcopy;
    std::vector<MigrationStep> steps;  ///< that are over, in the order in which they began
    std::vector<std::string> error;    ///< why it failed or stands still, outermost first
};

struct MigrationBandwidth {
    std::uint64_t bandwidth = 0;  ///< bytes a second; 0: no limit

    bool operator==(const MigrationBandwidth&) const = default;
};

}  // namespace hako::api

namespace hako::api::json {

template <>
struct Names<MigrationTimeout> {
    static constexpr std::array list = {Name{MigrationTimeout::kCancel, "Cancel"},
                                        Name{MigrationTimeout::kIgnore, "Ignore"},
                                        Name{MigrationTimeout::kPostcopy, "Postcopy"}};
};

template <>
struct Names<MemoryMode> {
    static constexpr std::array list = {Name{MemoryMode::kPrecopy, "Precopy"},
                                        Name{MemoryMode::kPostcopy, "Postcopy"}};
};

template <>
struct Fields<SendMigrationData> {
    using T = SendMigrationData;
    static constexpr auto list =
        std::tuple(required("destination_url", &T::destination_url), field("local", &T::local),
                   field("downtime_ms", &T::downtime_ms, {.min = 1, .max = 600'000}),
                   field("timeout_s", &T::timeout_s, {.min = 1, .max = 30U * 24 * 3600}),
                   field("timeout_strategy", &T::timeout_strategy),
                   field("connections", &T::connections, {.min = 1, .max = 64}),
                   field("tls_dir", &T::tls_dir), field("memory_mode", &T::memory_mode),
                   field("bandwidth", &T::bandwidth), field("auto_converge", &T::auto_converge));
};

template <>
struct Fields<ReceiveMigrationData> {
    using T = ReceiveMigrationData;
    static constexpr auto list =
        std::tuple(required("receiver_url", &T::receiver_url), field("tls_dir", &T::tls_dir),
                   field("memory_mode", &T::memory_mode), field("net_fds", &T::net_fds),
                   field("vsock_socket", &T::vsock_socket), field("fs_sockets", &T::fs_sockets));
};

template <>
struct Fields<MemoryTransmission> {
    using T = MemoryTransmission;
    static constexpr auto list =
        std::tuple(required("memory_iteration", &T::memory_iteration),
                   required("memory_transmission_bps", &T::memory_transmission_bps),
                   required("memory_bytes_total", &T::memory_bytes_total),
                   required("memory_bytes_transmitted", &T::memory_bytes_transmitted),
                   required("memory_bytes_remaining_iteration", &T::memory_bytes_remaining_iteration),
                   required("memory_pages_4k_transmitted", &T::memory_pages_4k_transmitted),
                   required("memory_pages_4k_remaining_iteration", &T::memory_pages_4k_remaining_iteration),
                   required("memory_pages_constant_count", &T::memory_pages_constant_count),
                   required("memory_dirty_rate_pps", &T::memory_dirty_rate_pps));
};

template <>
struct Fields<MigrationStep> {
    static constexpr auto list =
        std::tuple(required("step", &MigrationStep::step), required("us", &MigrationStep::us));
};

template <>
struct Fields<MigrationPostcopy> {
    using T = MigrationPostcopy;
    static constexpr auto list =
        std::tuple(required("pages_missing", &T::pages_missing), required("fault_count", &T::fault_count),
                   required("fault_p50_us", &T::fault_p50_us), required("fault_p99_us", &T::fault_p99_us),
                   required("fault_max_us", &T::fault_max_us), required("interruptions", &T::interruptions));
};

template <>
struct Fields<MigrationProgress> {
    using T = MigrationProgress;
    static constexpr auto list = std::tuple(
        required("role", &T::role), required("status", &T::status), required("phase", &T::phase),
        required("step", &T::step), required("transportation_mode", &T::transportation_mode),
        required("timestamp_begin_ms", &T::timestamp_begin_ms),
        required("timestamp_snapshot_ms", &T::timestamp_snapshot_ms),
        required("downtime_configured_ms", &T::downtime_configured_ms),
        required("downtime_estimated_ms", &T::downtime_estimated_ms),
        required("downtime_us", &T::downtime_us),
        required("vcpu_throttle_percent", &T::vcpu_throttle_percent),
        required("memory_transmission_info", &T::memory_transmission_info), field("postcopy", &T::postcopy),
        required("steps", &T::steps), required("error", &T::error));
};

template <>
struct Fields<MigrationBandwidth> {
    static constexpr auto list = std::tuple(required("bandwidth", &MigrationBandwidth::bandwidth));
};

}  // namespace hako::api::json
