// Snapshots: where they go and how a VM comes back from one.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "api/json/fields.h"
#include "api/schema/cloud_init.h"
#include "api/schema/fs.h"

namespace hako::api {

/// A copy of a disk of the moment that the snapshot holds.
struct SnapshotDiskConfig {
    std::string id;
    std::string path;   ///< of a new file
    bool copy = false;  ///< where blocks cannot be shared: copy them while the guest waits

    bool operator==(const SnapshotDiskConfig&) const = default;
};

struct VmSnapshotConfig {
    std::string destination_url;  ///< "file:///path" of a folder that exists and has no snapshot in it
    // hako's own:
    bool live = false;                    ///< the guest runs on
    std::optional<std::string> base_url;  ///< of a snapshot: only what was written since it is saved
    std::optional<bool> track;            ///< log writes from this one on, or no more; unset: as it is
    std::vector<SnapshotDiskConfig> disks;
    std::uint32_t hold_ms = 10'000;  ///< how long the guest may wait for their copies

    bool operator==(const VmSnapshotConfig&) const = default;
};

enum class MemoryRestoreMode { kCopy, kOnDemand };

/// New taps for one of the interfaces of the snapshot.
struct RestoredNetConfig {
    std::string id;
    std::uint32_t num_fds = 0;  ///< of the descriptors that came with the request, in order

    bool operator==(const RestoredNetConfig&) const = default;
};

/// Another host end, or another address, for one of the interfaces of the snapshot: hako's own.
struct RestoredInterface {
    std::string id;
    std::optional<std::string> tap;
    std::optional<std::string> socket;
    std::optional<std::string> mac;

    bool operator==(const RestoredInterface&) const = default;
};

/// Another image for one of the disks of the snapshot: hako's own.
struct RestoredDisk {
    std::string id;
    std::string path;

    bool operator==(const RestoredDisk&) const = default;
};

struct RestoreConfig {
    std::string source_url;  ///< "file:///path" of the folder
    bool prefault = false;
    MemoryRestoreMode memory_restore_mode = MemoryRestoreMode::kCopy;
    bool resume = false;
    std::optional<std::vector<RestoredNetConfig>> net_fds;
    // hako's own, what tells a clone from the others, and:
    std::vector<RestoredInterface> net;
    std::vector<RestoredDisk> disks;
    std::optional<seed::Config> cloud_init;  ///< a new disk for cloud-init
    bool track = false;                      ///< log writes from here on, for a snapshot based on this one
    bool prefetch = true;  ///< OnDemand: fetch what a guest from there needed first, or note it
    std::optional<std::string> vsock_socket;  ///< path of the vsock's socket, instead of the saved one
    std::optional<std::vector<RestoredFsConfig>> fs_sockets;  ///< where daemons of shared directories listen

    bool operator==(const RestoreConfig&) const = default;
};

/// What became of a snapshot. Answered to those who use one of hako's own fields.
struct SnapshotReport {
    std::uint64_t pause_us = 0;
    std::uint64_t memory_bytes = 0;  ///< written
    std::uint32_t rounds = 0;
};

}  // namespace hako::api

namespace hako::api::json {

template <>
struct Fields<SnapshotDiskConfig> {
    using T = SnapshotDiskConfig;
    static constexpr auto list =
        std::tuple(required("id", &T::id), required("path", &T::path), field("copy", &T::copy));
};

template <>
struct Fields<VmSnapshotConfig> {
    static constexpr auto list =
        std::tuple(required("destination_url", &VmSnapshotConfig::destination_url),
                   field("live", &VmSnapshotConfig::live), field("base_url", &VmSnapshotConfig::base_url),
                   field("track", &VmSnapshotConfig::track), field("disks", &VmSnapshotConfig::disks),
                   field("hold_ms", &VmSnapshotConfig::hold_ms));
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
struct Fields<RestoredInterface> {
    using T = RestoredInterface;
    static constexpr auto list = std::tuple(required("id", &T::id), field("tap", &T::tap),
                                            field("socket", &T::socket), field("mac", &T::mac));
};

template <>
struct Fields<RestoredDisk> {
    static constexpr auto list =
        std::tuple(required("id", &RestoredDisk::id), required("path", &RestoredDisk::path));
};

template <>
struct Fields<RestoreConfig> {
    static constexpr auto list = std::tuple(
        required("source_url", &RestoreConfig::source_url), field("prefault", &RestoreConfig::prefault),
        field("memory_restore_mode", &RestoreConfig::memory_restore_mode),
        field("resume", &RestoreConfig::resume), field("net_fds", &RestoreConfig::net_fds),
        field("net", &RestoreConfig::net), field("disks", &RestoreConfig::disks),
        field("cloud_init", &RestoreConfig::cloud_init), field("track", &RestoreConfig::track),
        field("prefetch", &RestoreConfig::prefetch), field("vsock_socket", &RestoreConfig::vsock_socket),
        field("fs_sockets", &RestoreConfig::fs_sockets));
};

template <>
struct Fields<SnapshotReport> {
    static constexpr auto list = std::tuple(required("pause_us", &SnapshotReport::pause_us),
                                            required("memory_bytes", &SnapshotReport::memory_bytes),
                                            required("rounds", &SnapshotReport::rounds));
};

}  // namespace hako::api::json
