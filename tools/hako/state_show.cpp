#include "tools/hako/state_show.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <span>
#include <vector>

#include "migration/instance/saved_vm.h"
#include "migration/snapshot/folder.h"
#include "vmm/base/fd.h"
#include "vmm/machine/state.h"

namespace hako {
namespace {

/// A state, or one written as text.
constexpr std::size_t kMaxText = 2 * state::kMaxFile + MiB;

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
        if (bytes.size() > kMaxText)
            return fail_input("the file is longer than {} bytes: no state is", kMaxText);
    }
}

Result<std::string> text_of(const std::string& path) {
    const std::vector<std::byte> bytes = HAKO_TRY_WRAP(read_file(path), "{}", path);
    if (bytes.empty() || bytes.front() != std::byte{'{'}) return HAKO_TRY_WRAP(describe(bytes), "{}", path);
    // A snapshot's.
    const std::string_view json(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const migration::SavedState saved = HAKO_TRY_WRAP(migration::saved_state_of(json), "{}", path);
    const migration::SavedVm vm = HAKO_TRY_WRAP(migration::decode_saved_vm(saved.vm), "{}", path);
    return HAKO_TRY_WRAP(describe(vm.machine), "{}", path);
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
