#include "tools/hako/ctl_output.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <vector>

#include "vmm/base/units.h"

namespace hako {
namespace {

namespace js = boost::json;
using Row = std::vector<std::string>;

/// A terminal takes orders from control characters, and these texts come from clients.
std::string printable(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x20 && byte != 0x7f)
            out.push_back(c);
        else
            out += fmt::format("\\x{:02x}", byte);
    }
    return out;
}

std::string text_of(const js::value& value) {
    if (value.is_string()) return printable({value.get_string().data(), value.get_string().size()});
    return js::serialize(value);
}

const js::value* find(const js::value& value, std::initializer_list<std::string_view> path) {
    const js::value* at = &value;
    for (const std::string_view name : path) {
        const js::object* const object = at->if_object();
        at = object == nullptr ? nullptr : object->if_contains({name.data(), name.size()});
        if (at == nullptr) return nullptr;
    }
    return at;
}

std::string field(const js::value& value, std::initializer_list<std::string_view> path) {
    const js::value* const found = find(value, path);
    return found == nullptr || found->is_null() ? "-" : text_of(*found);
}

std::string size_field(const js::value& value, std::initializer_list<std::string_view> path) {
    const js::value* const found = find(value, path);
    if (found == nullptr) return "-";
    boost::system::error_code error;
    const auto bytes = found->to_number<std::uint64_t>(error);
    return error ? text_of(*found) : format_size(bytes);
}

/// Columns as wide as they must be.
std::string table(const std::vector<Row>& rows) {
    std::vector<std::size_t> widths;
    for (const Row& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], row[i].size());
    }
    std::string out;
    for (const Row& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i)
            line += fmt::format("{:<{}}", row[i], i + 1 < row.size() ? widths[i] + 2 : 0);
        out += line + '\n';
    }
    return out;
}

std::string info_text(const js::value& info) {
    std::vector<Row> rows = {
        {"state", field(info, {"state"})},
        {"cpus", field(info, {"config", "cpus", "boot_vcpus"})},
        {"memory", size_field(info, {"memory_actual_size"})},
        {"kernel", field(info, {"config", "payload", "kernel"})},
        {"initramfs", field(info, {"config", "payload", "initramfs"})},
        {"cmdline", field(info, {"config", "payload", "cmdline"})},
    };
    for (const std::string_view port : {"serial", "console"}) {
        std::string text = field(info, {"config", port, "mode"});
        if (const std::string file = field(info, {"config", port, "file"}); file != "-") text += " " + file;
        rows.push_back({std::string(port), text});
    }
    const auto list = [&](std::string_view name, auto describe) {
        const js::value* const devices = find(info, {"config", name});
        if (devices == nullptr || !devices->is_array()) return;
        for (const js::value& device : devices->get_array())
            rows.push_back({std::string(name), field(device, {"id"}) + "  " + describe(device)});
    };
    list("disks", [](const js::value& disk) {
        return field(disk, {"path"}) + (field(disk, {"readonly"}) == "true" ? "  read-only" : "");
    });
    list("net", [](const js::value& net) {
        const std::string tap = field(net, {"tap"});
        return field(net, {"mac"}) + (tap == "-" ? "" : "  " + tap);
    });
    return table(rows);
}

std::string counters_text(const js::object& devices) {
    std::vector<Row> rows;
    for (const auto& [device, counters] : devices) {
        if (!counters.is_object()) continue;
        for (const auto& [name, value] : counters.get_object())
            rows.push_back({printable({device.data(), device.size()}), printable({name.data(), name.size()}),
                            text_of(value)});
    }
    return rows.empty() ? "no device counts anything\n" : table(rows);
}

}  // namespace

std::string ctl_text(std::string_view verb, std::string_view json) {
    if (json.empty()) return {};
    boost::system::error_code error;
    const js::value value = js::parse(js::string_view(json.data(), json.size()), error);
    if (error) return std::string(json);
    if (verb == "info") return info_text(value);
    if (verb == "counters" && value.is_object()) return counters_text(value.get_object());
    if (verb == "ping")
        return fmt::format("hako {}, process {}\n", field(value, {"version"}), field(value, {"pid"}));
    if (find(value, {"bdf"}) != nullptr)
        return fmt::format("{} at {}\n", field(value, {"id"}), field(value, {"bdf"}));
    return js::serialize(value) + '\n';
}

std::string ctl_event_text(std::string_view json) {
    boost::system::error_code error;
    const js::value event = js::parse(js::string_view(json.data(), json.size()), error);
    if (error) return {};
    std::uint64_t nanos = 0;
    if (const js::value* const found = find(event, {"timestamp", "nanos"}))
        nanos = found->to_number<std::uint64_t>(error);
    std::string line = fmt::format("{:>6}  {:>6}.{:03}  {} {}", field(event, {"sequence"}),
                                   field(event, {"timestamp", "secs"}), nanos / 1'000'000,
                                   field(event, {"source"}), field(event, {"event"}));
    if (const js::value* const found = find(event, {"properties"}); found != nullptr && found->is_object())
        for (const auto& [key, value] : found->get_object())
            line += fmt::format("  {}={}", printable({key.data(), key.size()}), text_of(value));
    return line + '\n';
}

}  // namespace hako
