// Prints what the structs of the API say about themselves, as the schemas of an OpenAPI document: the tests
// hold api/openapi.yaml to it.
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <iostream>
#include <limits>
#include <set>
#include <string>
#include <string_view>

#include "api/json/codec.h"
#include "api/schema/coredump.h"
#include "api/schema/device.h"
#include "api/schema/disk.h"
#include "api/schema/helper_disk.h"
#include "api/schema/knobs.h"
#include "api/schema/migration.h"
#include "api/schema/net.h"
#include "api/schema/ping.h"
#include "api/schema/resize.h"
#include "api/schema/snapshot.h"
#include "api/schema/vm.h"
#include "api/schema/vm_info.h"

using namespace hako;
using namespace hako::api;
namespace js = boost::json;

namespace {

template <typename T>
constexpr std::string_view kName = "";
template <>
constexpr std::string_view kName<ConsoleConfig> = "ConsoleConfig";
template <>
constexpr std::string_view kName<ConsolePortConfig> = "ConsolePortConfig";
template <>
constexpr std::string_view kName<CpusConfig> = "CpusConfig";
template <>
constexpr std::string_view kName<CpuTopology> = "CpuTopology";
template <>
constexpr std::string_view kName<FsConfig> = "FsConfig";
template <>
constexpr std::string_view kName<RestoredFsConfig> = "RestoredFsConfig";
template <>
constexpr std::string_view kName<DiskConfig> = "DiskConfig";
template <>
constexpr std::string_view kName<HelperDiskConfig> = "HelperDiskConfig";
template <>
constexpr std::string_view kName<HelperDiskInfo> = "HelperDiskInfo";
template <>
constexpr std::string_view kName<api::MemoryConfig> = "MemoryConfig";
template <>
constexpr std::string_view kName<NetConfig> = "NetConfig";
template <>
constexpr std::string_view kName<api::PayloadConfig> = "PayloadConfig";
template <>
constexpr std::string_view kName<PciDeviceInfo> = "PciDeviceInfo";
template <>
constexpr std::string_view kName<PlatformConfig> = "PlatformConfig";
template <>
constexpr std::string_view kName<RateLimiterConfig> = "RateLimiterConfig";
template <>
constexpr std::string_view kName<RngConfig> = "RngConfig";
template <>
constexpr std::string_view kName<seed::Config> = "CloudInitConfig";
template <>
constexpr std::string_view kName<TokenBucket> = "TokenBucket";
template <>
constexpr std::string_view kName<VmAddConsole> = "VmAddConsole";
template <>
constexpr std::string_view kName<VmConfig> = "VmConfig";
template <>
constexpr std::string_view kName<MemoryTransmission> = "MemoryTransmission";
template <>
constexpr std::string_view kName<MigrationBandwidth> = "MigrationBandwidth";
template <>
constexpr std::string_view kName<MigrationPostcopy> = "MigrationPostcopy";
template <>
constexpr std::string_view kName<MigrationStep> = "MigrationStep";
template <>
constexpr std::string_view kName<MigrationProgress> = "MigrationProgress";
template <>
constexpr std::string_view kName<ReceiveMigrationData> = "ReceiveMigrationData";
template <>
constexpr std::string_view kName<RestoreConfig> = "RestoreConfig";
template <>
constexpr std::string_view kName<VsockConfig> = "VsockConfig";
template <>
constexpr std::string_view kName<RestoredNetConfig> = "RestoredNetConfig";
template <>
constexpr std::string_view kName<RestoredInterface> = "RestoredInterface";
template <>
constexpr std::string_view kName<RestoredDisk> = "RestoredDisk";
template <>
constexpr std::string_view kName<SendMigrationData> = "SendMigrationData";
template <>
constexpr std::string_view kName<SnapshotDiskConfig> = "SnapshotDiskConfig";
template <>
constexpr std::string_view kName<SnapshotReport> = "SnapshotReport";
template <>
constexpr std::string_view kName<VmSnapshotConfig> = "VmSnapshotConfig";
template <>
constexpr std::string_view kName<VmCoredumpData> = "VmCoredumpData";
template <>
constexpr std::string_view kName<VmEjectHelper> = "VmEjectHelper";
template <>
constexpr std::string_view kName<VmInfo> = "VmInfo";
template <>
constexpr std::string_view kName<VmmPingResponse> = "VmmPingResponse";
template <>
constexpr std::string_view kName<VmRemoveDevice> = "VmRemoveDevice";
template <>
constexpr std::string_view kName<VmResize> = "VmResize";
template <>
constexpr std::string_view kName<VmResizeDisk> = "VmResizeDisk";
template <>
constexpr std::string_view kName<VmResizeZone> = "VmResizeZone";
template <>
constexpr std::string_view kName<VmSetLimits> = "VmSetLimits";
template <>
constexpr std::string_view kName<VmSetLink> = "VmSetLink";
template <>
constexpr std::string_view kName<VmUpdateHelper> = "VmUpdateHelper";

js::object schemas;

template <json::Described T>
void describe();

js::value schema(const bool&, json::Range) {
    return js::object{{"type", "boolean"}};
}
js::value schema(const std::string&, json::Range) {
    return js::object{{"type", "string"}};
}
js::value schema(const HelperFiles&, json::Range) {
    return js::object{{"type", "object"}};
}
template <std::unsigned_integral T>
js::value schema(const T&, json::Range range) {
    js::object object{{"type", "integer"}, {"minimum", range.min}};
    const std::uint64_t max = std::min<std::uint64_t>(range.max, std::numeric_limits<T>::max());
    if (max != std::numeric_limits<std::uint64_t>::max()) object["maximum"] = max;
    return object;
}
template <json::Named T>
js::value schema(const T&, json::Range) {
    js::array names;
    for (const auto& name : json::Names<T>::list)
        names.emplace_back(js::string_view(name.text.data(), name.text.size()));
    return js::object{{"type", "string"}, {"enum", names}};
}
template <json::Described T>
js::value schema(const T&, json::Range) {
    if constexpr (kName<T>.empty()) {
        return js::object{{"type", "object"}};
    } else {
        describe<T>();
        return js::object{{"$ref", "#/components/schemas/" + std::string(kName<T>)}};
    }
}
template <typename T>
js::value schema(const std::vector<T>&, json::Range range) {
    return js::object{{"type", "array"}, {"items", schema(T{}, range)}};
}
template <typename T>
js::value schema(const std::optional<T>&, json::Range range) {
    return schema(T{}, range);
}

template <json::Described T>
void describe() {
    const js::string_view name(kName<T>.data(), kName<T>.size());
    if (schemas.contains(name)) return;
    schemas[name] = nullptr;
    js::object properties;
    js::array required;
    const T defaults{};
    const auto add = [&](const auto& field) {
        const js::string_view key(field.name.data(), field.name.size());
        const auto& member = defaults.*field.member;
        js::value property = schema(member, field.range);
        if (field.required) {
            required.emplace_back(key);
        } else if (!property.get_object().contains("$ref") && property.get_object()["type"] != "array") {
            using json::to_value;
            if constexpr (!requires { member.has_value(); })
                property.get_object()["default"] = to_value(member);
        }
        properties[key] = std::move(property);
    };
    std::apply([&](const auto&... field) { (add(field), ...); }, json::Fields<T>::list);
    js::object object{{"type", "object"}, {"properties", std::move(properties)}};
    if (!required.empty()) object["required"] = std::move(required);
    schemas[name] = std::move(object);
}

}  // namespace

int main() {
    describe<VmInfo>();
    describe<VmmPingResponse>();
    describe<PciDeviceInfo>();
    describe<VmRemoveDevice>();
    describe<VmAddConsole>();
    describe<VmResize>();
    describe<VmResizeDisk>();
    describe<VmResizeZone>();
    describe<VmCoredumpData>();
    describe<VmSetLink>();
    describe<VmSetLimits>();
    describe<VmEjectHelper>();
    describe<VmUpdateHelper>();
    describe<VmSnapshotConfig>();
    describe<SnapshotDiskConfig>();
    describe<SnapshotReport>();
    describe<RestoreConfig>();
    describe<SendMigrationData>();
    describe<ReceiveMigrationData>();
    describe<MigrationBandwidth>();
    describe<MigrationProgress>();
    std::cout << js::serialize(schemas) << '\n';
    return 0;
}
