#include "vmm/base/read_all.h"

#include <unistd.h>

#include <array>
#include <cerrno>

#include "vmm/base/units.h"

namespace hako {

int read_all(int fd, std::uint64_t max, std::string& out) {
    std::array<char, 64 * KiB> piece;
    for (;;) {
        const ssize_t got = ::read(fd, piece.data(), piece.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno;
        if (got == 0) return 0;
        out.append(piece.data(), static_cast<std::size_t>(got));
        if (out.size() > max) return EFBIG;
    }
}

}  // namespace hako
