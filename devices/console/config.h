// Where a console's bytes go to and come from.
#pragma once

#include <string>

namespace hako::console {

enum class Mode { kOff, kTty, kFile, kPty };

struct Config {
    Mode mode = Mode::kOff;
    std::string path;  ///< kFile: appended to, created when missing

    bool operator==(const Config&) const = default;
};

}  // namespace hako::console
