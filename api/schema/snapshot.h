// Snapshots: where they go and how a VM comes back from one.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "api/json/fields.h"

namespace hako::api {

struct VmSnapshotConfig {
    std::string destination_url;  ///< "file:///path" of a folder that exists and has no snapshot in it
    bool live = false;            ///< hako's own: the guest runs on

    bool operator==(const VmSnapshotConfig&) const = default;
};

enum class MemoryRestoreMode { kCopy, kOnDemand };

/// New taps for one of the interfaces of the snapshot.
struct RestoredNetConfig {
    std::string id;
    std::uint32_t num_fds = 0;  ///< of the descriptors that came with the request, in order

    bool operator==(const RestoredNetConfig&) const = default;
};

struct RestoreConfig {
    std::string source_url;  ///< "file:///path" of the folder
    bool prefault = false;
    MemoryRestoreMode memory_restore_mode = MemoryRestoreMode::kCopy;
    bool resume = false;
    std::optional<std::vector<RestoredNetConfig>> net_fds;
    std::optional<std::string>
        vsock_socket;  ///< hako's own: path of the vsock's socket, instead of the saved

    bool operator==(const RestoreConfig&) const = default;
};

/// What became of a snapshot. Answered only to a live one: hako's own.
struct SnapshotReport {
    std::uint64_t pause_us = 0;
    std::uint64_t memory_bytes = 0;  ///< written
    std::uint32_t rounds = 0;
};

}  // namespace hako::api

namespace hako::api::json {

template <>
struct Fields<VmSnapshotConfig> {
    static constexpr auto list = std::tuple(required("destination_url", &VmSnapshotConfig::destination_url),
                                            field("live", &VmSnapshotConfig::live));
};

template <>
struct Names<MemoryRestoreMode> {
    static constexpr std::array list = {Name{MemoryRestoreMode::kCopy, "Copy"},
                                        Name{MemoryRestoreMode::kOnDemand, "OnDemand"}};
};

template <>
struct Fields<RestoredNetConfig> {
    static constexpr auto list =
        std::tuple(required("id", &RestoredNetConfig::id), required("num_fds", &RestoredNetConfig::num_fds));
};

template <>
struct Fields<RestoreConfig> {
    static constexpr auto list = std::tuple(
        required("source_url", &RestoreConfig::source_url), field("prefault", &RestoreConfig::prefault),
        field("memory_restore_mode", &RestoreConfig::memory_restore_mode),
        field("resume", &RestoreConfig::resume), field("net_fds", &RestoreConfig::net_fds),
        field("vsock_socket", &RestoreConfig::vsock_socket));
};

template <>
struct Fields<SnapshotReport> {
    static constexpr auto list = std::tuple(required("pause_us", &SnapshotReport::pause_us),
                                            required("memory_bytes", &SnapshotReport::memory_bytes),
                                            required("rounds", &SnapshotReport::rounds));
};

}  // namespace hako::api::json
