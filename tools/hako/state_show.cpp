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
#include "vmm/base/read_all.h"
#include "vmm/machine/state.h"

namespace hako {
namespace {

/// A state, or one written as text.
constexpr std::size_t kMaxText = 2 * state::kMaxFile + MiB;

Result<std::string> read_file(const std::string& path) {
    const auto refuse = [](int error) {
        return fail_input("{}: name a file that this user may read", errno_text(error));
    };
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return refuse(errno);
    std::string text;
    const int error = read_all(file.get(), kMaxText, text);
    if (error == EFBIG) return fail_input("the file is longer than {} bytes: no state is", kMaxText);
    if (error != 0) return refuse(error);
    return text;
}

Result<std::string> text_of(const std::string& path) {
    const std::string text = HAKO_TRY_WRAP(read_file(path), "{}", path);
    if (!text.starts_with('{')) return HAKO_TRY_WRAP(describe(std::as_bytes(std::span(text))), "{}", path);
    // A snapshot's.
    const migration::SavedState saved = HAKO_TRY_WRAP(migration::saved_state_of(text), "{}", path);
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
