#include "tools/hako/seed.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <string>
#include <string_view>

#include "tools/hako/cli_command.h"
#include "tools/hako/helper_disks.h"
#include "vmm/base/fd.h"
#include "vmm/seed/contents.h"
#include "vmm/seed/hash.h"
#include "vmm/seed/read_file.h"
#include "vmm/seed/seed.h"

namespace hako {
namespace {

/// What comes from an image, for a terminal.
std::string harmless(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (std::iscntrl(static_cast<unsigned char>(c)) != 0)
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        else
            out += c;
    }
    return out;
}

Result<> write_all(int fd, std::string_view bytes, const std::string& name) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(fd, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return fail_errno(errno, "cannot write {}", name);
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
}

Result<seed::DiskConfig> disk_of(const cli::SeedCommand& command) {
    if (command.helper) return read_helper(*command.helper);
    const seed::Config config = HAKO_TRY(read_seed(*command.cloud_init));
    return HAKO_TRY_WRAP(seed::disk_of(config), "--cloud-init");
}

void describe(const seed::Contents& contents, std::string_view image) {
    fmt::print("label {}, {}, {} bytes, checksum {:016x}\n", harmless(contents.label), text(contents.format),
               image.size(), seed::fnv1a(image));
    for (const seed::File& file : contents.files)
        fmt::print("{} {:>8} {}\n", file.mode ? fmt::format("{:04o}", *file.mode) : "----",
                   file.content.size(), harmless(file.path));
}

Result<> build_or_check(const cli::SeedCommand& command) {
    const seed::DiskConfig disk = HAKO_TRY(disk_of(command));
    const std::string image =
        HAKO_TRY_WRAP(seed::image_bytes(disk), "{}", command.helper ? "--helper-disk" : "--cloud-init");
    if (command.verb == cli::SeedCommand::Verb::kBuild) {
        // It may hold secrets.
        const Fd file(::open(command.image.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        if (!file.valid()) return fail_input("--output {}: {}", command.image, errno_text(errno));
        HAKO_TRY(write_all(file.get(), image, command.image));
    }
    describe(HAKO_TRY(seed::read_contents(image)), image);
    return {};
}

Result<> show(const cli::SeedCommand& command) {
    const std::string image = HAKO_TRY(seed::read_file(command.image, seed::kMaxRead));
    const seed::Contents contents = HAKO_TRY_WRAP(seed::read_contents(image), "{}", command.image);
    if (!command.file) {
        describe(contents, image);
        return {};
    }
    for (const seed::File& file : contents.files)
        if (file.path == *command.file) return write_all(STDOUT_FILENO, file.content, "to standard output");
    return fail_missing("{}: there is no file {} in it", command.image, *command.file);
}

}  // namespace

ExitCode run_seed(const cli::SeedCommand& command) {
    const Result<> done =
        command.verb == cli::SeedCommand::Verb::kShow ? show(command) : build_or_check(command);
    if (done) return ExitCode::kPowerOff;
    fmt::print(stderr, "{}", cli::error_line(done.error()));
    return exit_code(done.error().fault());
}

}  // namespace hako
