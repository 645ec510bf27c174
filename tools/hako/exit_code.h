// The exit codes of hako: the one list of them.
#pragma once

#include <array>
#include <string_view>

#include "vmm/base/result.h"

namespace hako {

enum class ExitCode : int {
    kPowerOff = 0,  ///< also: a command that did its work
    kHostFailure = 1,
    kBadInput = 2,
    kReboot = 3,
    kGuestPanic = 4,
    kTripleFault = 5,
    kKvmInternalError = 6,
    kShutdownTimeout = 7,
};

struct ExitCodeText {
    ExitCode code;
    std::string_view meaning;
};

/// What each code means, in the order of the codes; `hako run --help` prints this table.
inline constexpr std::array<ExitCodeText, 8> kExitCodes = {{
    {ExitCode::kPowerOff, "the guest powered off"},
    {ExitCode::kHostFailure, "the host or hako failed"},
    {ExitCode::kBadInput, "bad input: an option, the kernel or an image"},
    {ExitCode::kReboot, "the guest or its watchdog asked for a reboot and --no-reboot was given"},
    {ExitCode::kGuestPanic, "the guest's kernel panicked"},
    {ExitCode::kTripleFault, "the guest triple-faulted"},
    {ExitCode::kKvmInternalError, "KVM reported an internal error"},
    {ExitCode::kShutdownTimeout, "the guest did not shut down in time after SIGTERM"},
}};

/// The code of a command that ended with this error.
constexpr ExitCode exit_code(Fault fault) {
    return fault == Fault::kHost ? ExitCode::kHostFailure : ExitCode::kBadInput;
}

}  // namespace hako
