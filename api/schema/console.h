// The serial port and the console, as Cloud Hypervisor's clients describe them.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <tuple>

#include "api/json/fields.h"

namespace hako::api {

enum class ConsoleMode { kOff, kPty, kTty, kFile, kSocket, kNull };

struct ConsoleConfig {
    ConsoleMode mode = ConsoleMode::kNull;
    std::optional<std::string> file;  ///< kFile: appended to; kPty: the pty, in vm.info
    std::optional<std::string> socket;
    bool iommu = false;

    bool operator==(const ConsoleConfig&) const = default;
};

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
    static constexpr auto list = std::tuple(required("mode", &T::mode), field("file", &T::file),
                                            field("socket", &T::socket), field("iommu", &T::iommu));
};
