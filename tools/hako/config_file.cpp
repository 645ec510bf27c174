#include "tools/hako/config_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "api/http/request_parser.h"
#include "api/json/codec.h"
#include "vmm/base/fd.h"

namespace hako {
namespace {

/// As long as a request's body may be.
constexpr std::size_t kMaxBytes = api::http::RequestLimits{}.body;

Result<std::string> read_text(const std::string& path) {
    const auto refuse = [](int error) {
        return fail_input("{}: name a file that this user may read", errno_text(error));
    };
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return refuse(errno);
    std::string text;
    std::array<char, 65536> piece;
    for (;;) {
        const ssize_t got = ::read(file.get(), piece.data(), piece.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return refuse(errno);
        if (got == 0) return text;
        text.append(piece.data(), static_cast<std::size_t>(got));
        if (text.size() > kMaxBytes)
            return fail_input(
                "the file is longer than {} bytes: cloud_init and helper_disks must fit; give larger ones as "
                "--cloud-init and --helper-disk",
                kMaxBytes);
    }
}

}  // namespace

Result<api::VmConfig> read_config_file(const std::string& path) {
    const std::string text = HAKO_TRY_WRAP(read_text(path), "--config {}", path);
    auto config = HAKO_TRY_WRAP(api::json::decode<api::VmConfig>(text), "--config {}", path);
    api::name_devices(config);
    HAKO_TRY_WRAP(api::to_machine(config), "--config {}", path);
    return config;
}

}  // namespace hako
