// CPUs as Cloud Hypervisor's clients describe them.
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>

#include "api/json/fields.h"

namespace hako::api {

struct CpuTopology {
    std::uint16_t threads_per_core = 1;
    std::uint16_t cores_per_die = 1;
    std::uint16_t dies_per_package = 1;
    std::uint16_t packages = 1;

    bool operator==(const CpuTopology&) const = default;
};

/// What hako leaves to the host (topology, nested, affinity, core_scheduling, features) is passed over;
/// vm.info gives it back.
struct CpusConfig {
    std::uint32_t boot_vcpus = 1;
    std::uint32_t max_vcpus = 1;
    std::optional<CpuTopology> topology;
    bool kvm_hyperv = false;
    std::uint8_t max_phys_bits = 46;  ///< strict clients want it back
    bool nested = true;

    bool operator==(const CpusConfig&) const = default;
};

}  // namespace hako::api

template <>
struct hako::api::json::Fields<hako::api::CpuTopology> {
    using T = CpuTopology;
    static constexpr auto list =
        std::tuple(field("threads_per_core", &T::threads_per_core), field("cores_per_die", &T::cores_per_die),
                   field("dies_per_package", &T::dies_per_package), field("packages", &T::packages));
};

template <>
struct hako::api::json::Fields<hako::api::CpusConfig> {
    using T = CpusConfig;
    static constexpr auto list = std::tuple(
        required("boot_vcpus", &T::boot_vcpus, {.min = 1}), required("max_vcpus", &T::max_vcpus, {.min = 1}),
        field("topology", &T::topology), field("kvm_hyperv", &T::kvm_hyperv),
        field("max_phys_bits", &T::max_phys_bits), field("nested", &T::nested));
};
