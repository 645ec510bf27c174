// `hako doctor`: can this host run VMs, and if not, what to do?
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "tools/hako/doctor_check.h"

namespace hako::doctor {

struct Options {
    std::chrono::milliseconds guest_time_limit{2000};  ///< for the test guest
};

struct Report {
    Checks checks;

    /// No check failed.
    [[nodiscard]] bool usable() const;
    /// The first failed check on one line, "KVM device: …; to do: …", as a hint for other commands.
    [[nodiscard]] std::optional<std::string> first_failure() const;
};

/// Runs every check. Takes milliseconds where all is well, and at most about the guest's time limit where KVM
/// is not. Uses SIGUSR2 while the test guest runs and restores its handler afterwards.
Report run_checks(const Options& options = {});

/// One line a check, "ok   KVM device    /dev/kvm opens, …"; what to do stands below each that is not ok.
std::string human_text(const Report& report);
/// {"usable": bool, "checks": [{"name", "status": "ok|warn|fail", "found", "advice"}]} and a newline.
std::string json_text(const Report& report);

}  // namespace hako::doctor
