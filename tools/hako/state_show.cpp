#include "tools/hako/state_show.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <span>
#include <vector>

#include "vmm/base/fd.h"
#include "vmm/machine/state.h"

namespace hako {
namespace {

Result<std::vector<std::byte>> read_file(const std::string& path) {
    const auto refuse = [](int error) {
        return fail_input("{}: name a file that this user may read", errno_text(error));
    };
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return refuse(errno);
    std::vector<std::byte> bytes;
    std::array<std::byte, 65536> piece;
    for (;;) {
        const ssize_t got = ::read(file.get(), piece.data(), piece.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return refuse(errno);
        if (got == 0) return bytes;
        bytes.insert(bytes.end(), piece.begin(), piece.begin() + got);
        if (bytes.size() > state::kMaxFile)
            return fail_input("the file is longer than {} bytes: no state is", state::kMaxFile);
    }
}

Result<std::string> text_of(const std::string& path) {
    const std::vector<std::byte> bytes = HAKO_TRY_WRAP(read_file(path), "{}", path);
    return HAKO_TRY_WRAP(describe(bytes), "{}", path);
}

}  // namespace

ExitCode show_state(const cli::StateCommand& command) {
    const Result<std::string> text = text_of(command.path);
    if (!text) {
        fmt::print(stderr, "{}", cli::error_line(text.error()));
        return exit_code(text.error().fault());
    }
    fmt::print("{}", *text);
    return ExitCode::kPowerOff;
}

}  // namespace hako
