// hako's own: the texts of a NoCloud disk.
#pragma once

#include <array>
#include <tuple>

#include "api/json/fields.h"
#include "api/json/value.h"
#include "vmm/base/result.h"
#include "vmm/seed/helper.h"

namespace hako::api {

/// cloud-init's disk, checked and built. Refusals name the field, as part of what is at `place`, and not its
/// value.
[[nodiscard]] Result<seed::Helper> build_seed(const seed::Config& config, const json::Place& place);

/// An error of vmm/seed, whose outermost cause is the field, at `place`.
[[nodiscard]] std::unexpected<Error> at_field(const json::Place& place, const Error& error);

}  // namespace hako::api

template <>
struct hako::api::json::Names<hako::seed::Format> {
    static constexpr std::array list = {Name{seed::Format::kIso9660, "iso9660"},
                                        Name{seed::Format::kVfat, "vfat"}};
};

template <>
struct hako::api::json::Fields<hako::seed::Config> {
    using T = seed::Config;
    static constexpr auto list = std::tuple(
        required("user_data", &T::user_data), field("meta_data", &T::meta_data),
        field("network_config", &T::network_config), field("vendor_data", &T::vendor_data),
        field("instance_id", &T::instance_id), field("hostname", &T::hostname), field("format", &T::format));
};
