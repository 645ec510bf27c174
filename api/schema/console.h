// The serial port and the console, as Cloud Hypervisor's clients describe them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "api/json/fields.h"
#include "api/json/value.h"
#include "devices/console/config.h"
#include "virtio/console/config.h"
#include "vmm/base/result.h"

namespace hako::api {

/// The id of the console that VmConfig speaks of.
inline constexpr const char* kFirstConsole = "_console0";

enum class ConsoleMode { kOff, kPty, kTty, kFile, kSocket, kNull };

struct ConsoleConfig {
    ConsoleMode mode = ConsoleMode::kNull;
    std::optional<std::string> file;    ///< kFile: appended to; kPty: the pty, in vm.info
    std::optional<std::string> socket;  ///< kSocket; hako's own: beside a file, too
    bool iommu = false;
    std::optional<std::uint16_t> pci_segment;  ///< of a virtio console

    bool operator==(const ConsoleConfig&) const = default;
};

/// hako's own: a named port of a virtio console.
struct ConsolePortConfig {
    std::string name;
    ConsoleMode mode = ConsoleMode::kSocket;
    std::optional<std::string> file;
    std::optional<std::string> socket;

    bool operator==(const ConsolePortConfig&) const = default;
};

/// hako's own: a virtio console to be added.
struct VmAddConsole {
    std::optional<std::string> id;
    ConsoleMode mode = ConsoleMode::kOff;  ///< of port 0; kOff: named ports only
    std::optional<std::string> file;
    std::optional<std::string> socket;
    std::vector<ConsolePortConfig> ports;
    std::optional<std::uint16_t> pci_segment;

    bool operator==(const VmAddConsole&) const = default;
};

/// Refusals name the field, as part of what is at `place`.
[[nodiscard]] Result<console::Config> to_machine(const ConsoleConfig& config, const json::Place& place);
/// `config.id` is set.
[[nodiscard]] Result<virtio::console::Config> to_machine(const VmAddConsole& config,
                                                         const json::Place& place = {});
[[nodiscard]] VmAddConsole from_machine(const virtio::console::Config& config);
[[nodiscard]] ConsoleConfig from_machine(const console::Config& config);

}  // namespace hako::api

template <>
struct hako::api::json::Names<hako::api::ConsoleMode> {
    static constexpr std::array list = {
        Name{ConsoleMode::kOff, "Off"},       Name{ConsoleMode::kPty, "Pty"},
        Name{ConsoleMode::kTty, "Tty"},       Name{ConsoleMode::kFile, "File"},
        Name{ConsoleMode::kSocket, "Socket"}, Name{ConsoleMode::kNull, "Null"}};
};

template <>
struct hako::api::json::Fields<hako::api::ConsoleConfig> {
    using T = ConsoleConfig;
    static constexpr auto list =
        std::tuple(required("mode", &T::mode), field("file", &T::file), field("socket", &T::socket),
                   field("iommu", &T::iommu), field("pci_segment", &T::pci_segment));
};

template <>
struct hako::api::json::Fields<hako::api::ConsolePortConfig> {
    using T = ConsolePortConfig;
    static constexpr auto list = std::tuple(required("name", &T::name), field("mode", &T::mode),
                                            field("file", &T::file), field("socket", &T::socket));
};

template <>
struct hako::api::json::Fields<hako::api::VmAddConsole> {
    using T = VmAddConsole;
    static constexpr auto list = std::tuple(field("id", &T::id), field("mode", &T::mode),
                                            field("file", &T::file), field("socket", &T::socket),
                                            field("ports", &T::ports), field("pci_segment", &T::pci_segment));
};
