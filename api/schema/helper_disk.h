// hako's own: small read-only disks that hako makes of files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

#include "api/json/fields.h"
#include "api/json/value.h"
#include "api/schema/cloud_init.h"
#include "api/schema/helper_files.h"
#include "vmm/base/result.h"
#include "vmm/seed/helper.h"

namespace hako::api {

struct HelperDiskConfig {
    std::string id;
    std::string label = "cfgdata";
    std::optional<std::string> serial;  ///< unset: the id
    seed::Format format = seed::Format::kIso9660;
    HelperFiles files;

    bool operator==(const HelperDiskConfig&) const = default;
};

/// What vm.info tells of it: not what is in the files.
struct HelperDiskInfo {
    std::string id;
    std::string label;
    std::string serial;
    seed::Format format = seed::Format::kIso9660;
    std::uint64_t size = 0;  ///< bytes
    std::string checksum;    ///< FNV-1a of the image: 16 hex digits

    bool operator==(const HelperDiskInfo&) const = default;
};

struct VmEjectHelper {
    std::string id;
    bool force = false;  ///< without asking the guest

    bool operator==(const VmEjectHelper&) const = default;
};

/// New content for a helper disk: `files`, or for cloud-init's disk `cloud_init`.
struct VmUpdateHelper {
    std::string id;
    std::optional<HelperFiles> files;
    std::optional<seed::Config> cloud_init;
    bool force = false;  ///< without asking the guest

    bool operator==(const VmUpdateHelper&) const = default;
};

/// The disk, checked and built. Refusals name the field, as part of what is at `place`.
[[nodiscard]] Result<seed::Helper> to_machine(const HelperDiskConfig& config, const json::Place& place);
/// `old` with new content.
[[nodiscard]] Result<seed::Helper> to_machine(const VmUpdateHelper& update, const seed::Helper& old);
[[nodiscard]] HelperDiskInfo info_of(const seed::Helper& helper);

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::HelperDiskConfig> {
    using T = HelperDiskConfig;
    static constexpr auto list =
        std::tuple(required("id", &T::id), field("label", &T::label), field("serial", &T::serial),
                   field("format", &T::format), required("files", &T::files));
};

template <>
struct hako::api::json::Fields<hako::api::HelperDiskInfo> {
    using T = HelperDiskInfo;
    static constexpr auto list = std::tuple(required("id", &T::id), required("label", &T::label),
                                            required("serial", &T::serial), required("format", &T::format),
                                            required("size", &T::size), required("checksum", &T::checksum));
};

template <>
struct hako::api::json::Fields<hako::api::VmEjectHelper> {
    using T = VmEjectHelper;
    static constexpr auto list = std::tuple(required("id", &T::id), field("force", &T::force));
};

template <>
struct hako::api::json::Fields<hako::api::VmUpdateHelper> {
    using T = VmUpdateHelper;
    static constexpr auto list = std::tuple(required("id", &T::id), field("files", &T::files),
                                            field("cloud_init", &T::cloud_init), field("force", &T::force));
};
