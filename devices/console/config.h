// Where a console's bytes go to and come from.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include "vmm/base/units.h"

namespace hako::console {

enum class Mode {
    kOff,
    kTty,     ///< standard input and output
    kFile,    ///< output only; with `socket` set, a socket beside the file
    kPty,     ///< a new pseudo terminal
    kSocket,  ///< a unix stream socket that a client connects to
};

/// Bytes of output that are kept for a file that lags, or for who attaches later.
inline constexpr std::size_t kDefaultBuffer = 64 * KiB;

struct Config {
    Mode mode = Mode::kOff;
    std::string path;    ///< kFile: appended to, created when missing
    std::string socket;  ///< kSocket, and kFile if wanted: made there with mode 0600
    /// How long the guest waits for a pty's reader or a socket's client that was quick until now. One that
    /// lags is not waited for again before it has everything.
    std::chrono::milliseconds patience{500};

    bool operator==(const Config&) const = default;
};

}  // namespace hako::console
