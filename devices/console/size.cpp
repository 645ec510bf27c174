#include "devices/console/size.h"

#include <sys/ioctl.h>

namespace hako::console {

Size size_of(int fd) {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) != 0) return {};
    return {.columns = size.ws_col, .rows = size.ws_row};
}

}  // namespace hako::console
