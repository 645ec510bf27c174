#include "tools/hako/ctl_progress.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "vmm/base/units.h"

namespace hako {
namespace {

constexpr unsigned kBarWidth = 30;

/// An answer of vm.migration-progress.
class Progress {
  public:
    explicit Progress(std::string_view json) {
        boost::system::error_code error;
        const auto document = boost::json::parse(json, error);
        if (!error && document.is_object()) object_ = document.get_object();
    }

    [[nodiscard]] std::string text(std::string_view name) const {
        const auto* const value = object_.if_contains(name);
        return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
    }
    [[nodiscard]] std::uint64_t number(std::string_view name) const { return number_of(object_, name); }
    [[nodiscard]] std::uint64_t memory(std::string_view name) const {
        return number_in("memory_transmission_info", name);
    }
    /// Of disks that are copied.
    [[nodiscard]] std::uint64_t disks(std::string_view name) const {
        return number_in("disk_transmission_info", name);
    }
    [[nodiscard]] std::string causes() const {
        std::string text;
        const auto* const value = object_.if_contains("error");
        if (value == nullptr || !value->is_array()) return text;
        for (const auto& cause : value->get_array())
            if (cause.is_string()) text += (text.empty() ? "" : ": ") + std::string(cause.get_string());
        return text;
    }

  private:
    [[nodiscard]] std::uint64_t number_in(std::string_view part, std::string_view name) const {
        const auto* const value = object_.if_contains(boost::json::string_view(part.data(), part.size()));
        return value != nullptr && value->is_object() ? number_of(value->get_object(), name) : 0;
    }
    static std::uint64_t number_of(const boost::json::object& object, std::string_view name) {
        const auto* const value = object.if_contains(name);
        if (value == nullptr) return 0;
        if (value->is_uint64()) return value->get_uint64();
        return value->is_int64() && value->get_int64() > 0 ? static_cast<std::uint64_t>(value->get_int64())
                                                           : 0;
    }

    boost::json::object object_;
};

std::string rate(std::uint64_t bytes) {
    return fmt::format("{:.0f} MiB/s", static_cast<double>(bytes) / static_cast<double>(MiB));
}

}  // namespace

std::string migration_bar(std::string_view json) {
    const Progress progress(json);
    const std::string step = progress.text("step");
    if (step == "paused-recoverable")
        return fmt::format("the guest stands still, trying again: {}", progress.causes());
    const std::uint64_t total = std::max<std::uint64_t>(
        progress.memory("memory_bytes_total") + progress.disks("disk_bytes_total"), 1);
    const std::uint64_t left = std::min(progress.memory("memory_bytes_remaining_iteration") +
                                            progress.disks("disk_bytes_remaining_iteration"),
                                        total);
    const double share = static_cast<double>(total - left) / static_cast<double>(total);
    const auto filled = static_cast<unsigned>(share * kBarWidth);
    const std::string bar = fmt::format("[{}{}] {:3.0f} %", std::string(filled, '#'),
                                        std::string(kBarWidth - filled, '-'), share * 100);
    const std::string sent = rate(progress.memory("memory_transmission_bps"));
    if (step == "serving")
        return fmt::format("{}  {}  the guest runs there, the rest of its memory follows", bar, sent);
    return fmt::format("{}  round {}  {}  dirty {}  downtime {} ms (predicted)", bar,
                       progress.memory("memory_iteration"), sent,
                       rate(progress.memory("memory_dirty_rate_pps") * kPageSize),
                       progress.number("downtime_estimated_ms"));
}

std::string migration_end(std::string_view json) {
    const Progress progress(json);
    const double seconds = static_cast<double>(progress.number("timestamp_snapshot_ms") -
                                               progress.number("timestamp_begin_ms")) /
                           1000;
    if (progress.text("status") != "finished")
        return fmt::format("{} after {:.1f} s: {}", progress.text("status"), seconds, progress.causes());
    return fmt::format(
        "moved in {:.1f} s: {} in {} rounds, downtime {:.1f} ms", seconds,
        format_size(progress.memory("memory_bytes_transmitted") + progress.disks("disk_bytes_transmitted")),
        progress.memory("memory_iteration") + 1, static_cast<double>(progress.number("downtime_us")) / 1000);
}

std::string migration_status(std::string_view json) {
    return Progress(json).text("status");
}

}  // namespace hako
