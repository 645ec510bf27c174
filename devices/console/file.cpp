#include "devices/console/file.h"

#include <fcntl.h>

#include <utility>

namespace hako::console {

Result<std::unique_ptr<Backend>> File::open(boost::asio::io_context& io, const std::string& path) {
    if (path.empty()) return fail_input("console file: its path is empty");
    // Without O_NONBLOCK a named pipe without a reader would hold up the start.
    Fd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600));
    if (!fd.valid()) {
        const int error = errno;
        const char* const hint = error == ENXIO ? ": a named pipe needs a reader first" : "";
        return fail_input("cannot open console file {}: {}{}", path, errno_text(error), hint);
    }
    auto output = Output::create(io, {.fd = std::move(fd), .nonblocking = true}, Overflow::kRefuse,
                                 fmt::format("console file {}", path));
    return std::unique_ptr<Backend>(new File(path, std::move(output)));
}

File::~File() {
    // The port may be gone by now.
    port_ = nullptr;
    output_->on_room({});
    stop();
}

void File::start(Port& port) {
    port_ = &port;
    output_->on_room([&port] { port.writable(); });
    port.writable();
}

void File::stop() {
    if (port_ != nullptr) port_->writable();
    flush_now(std::chrono::milliseconds(1000));
    port_ = nullptr;
    output_->on_room({});
}

}  // namespace hako::console
