// What a guest boots, as Cloud Hypervisor's clients say it.
#pragma once

#include <optional>
#include <string>
#include <tuple>

#include "api/json/fields.h"

namespace hako::api {

struct PayloadConfig {
    std::optional<std::string> kernel;  ///< hako boots kernels only
    std::optional<std::string> cmdline;
    std::optional<std::string> initramfs;
    std::optional<std::string> firmware;
    std::optional<std::string> igvm;
    std::optional<std::string> host_data;

    bool operator==(const PayloadConfig&) const = default;
};

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::PayloadConfig> {
    using T = PayloadConfig;
    static constexpr auto list = std::tuple(
        field("kernel", &T::kernel), field("cmdline", &T::cmdline), field("initramfs", &T::initramfs),
        field("firmware", &T::firmware), field("igvm", &T::igvm), field("host_data", &T::host_data));
};
