#include <fmt/core.h>

#include <algorithm>
#include <boost/json.hpp>
#include <string_view>

#include "tools/hako/doctor.h"

namespace hako::doctor {
namespace {

std::string_view status_text(Status status) {
    switch (status) {
        case Status::kOk:
            return "ok";
        case Status::kWarn:
            return "warn";
        case Status::kFail:
            break;
    }
    return "fail";
}

}  // namespace

std::string human_text(const Report& report) {
    std::size_t width = 0;
    for (const Check& check : report.checks)
        width = std::max(width, check.name.size());
    std::string out;
    for (const Check& check : report.checks) {
        out += fmt::format("{:<4} {:<{}}  {}\n", status_text(check.status), check.name, width, check.found);
        if (check.status != Status::kOk) out += fmt::format("{:>{}}-> {}\n", "", width + 7, check.advice);
    }
    out += report.usable() ? "\nVMs can run here.\n"
                           : "\nVMs cannot run here: see the lines that begin with \"fail\".\n";
    return out;
}

std::string json_text(const Report& report) {
    boost::json::array checks;
    for (const Check& check : report.checks)
        checks.push_back(boost::json::object{{"name", check.name},
                                             {"status", status_text(check.status)},
                                             {"found", check.found},
                                             {"advice", check.advice}});
    return boost::json::serialize(
               boost::json::object{{"usable", report.usable()}, {"checks", std::move(checks)}}) +
           "\n";
}

}  // namespace hako::doctor
