// The size of a terminal.
#pragma once

#include <cstdint>

namespace hako::console {

/// Characters; 0: not known.
struct Size {
    std::uint16_t columns = 0;
    std::uint16_t rows = 0;

    [[nodiscard]] bool known() const { return columns != 0 && rows != 0; }
    bool operator==(const Size&) const = default;
};

/// What the terminal `fd` says (TIOCGWINSZ).
[[nodiscard]] Size size_of(int fd);

}  // namespace hako::console
