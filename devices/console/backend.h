// A console's other end: the terminal, a file, a pty or nothing, driven by the control thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "devices/console/config.h"
#include "devices/console/sink.h"
#include "vmm/base/result.h"

namespace hako::console {

/// Output is buffered (64 KiB) between the vCPU threads and the control thread. When the buffer is full a
/// terminal or a file refuses more (the UART then tells the guest to wait); a pty drops its oldest bytes.
///
/// All but the Sink calls belong to the control thread, which runs `io`. The io_context outlives the backend,
/// and the backend outlives the device that writes into it.
class Backend : public Sink {
  public:
    /// Opens what `config` names; a bad path is the user's error. kOff swallows output and gives no input.
    /// `on_quit`: Ctrl-A x was typed on the terminal; called on the control thread.
    /// Ignores SIGPIPE in this process for kTty and kFile, unless somebody handles it.
    static Result<std::unique_ptr<Backend>> open(boost::asio::io_context& io, const Config& config,
                                                 std::function<void()> on_quit = {});

    /// Connects the device: input flows from now on, and the terminal becomes raw.
    virtual void start(Port& port) = 0;
    /// Writes what the device and the buffer hold as flush_now() does, disconnects the device and gives the
    /// terminal back. Works while nobody runs `io`. Idempotent, and start() may follow with another device (a
    /// reboot). Call it while the port lives; the destructor does the rest of it without touching the port.
    virtual void stop() = 0;
    /// Writes all that is buffered, waiting for a slow reader no longer than `limit`. For exit paths.
    virtual void flush_now(std::chrono::milliseconds limit = std::chrono::milliseconds(1000)) = 0;
    /// The pty's path ("/dev/pts/3"), the file's path, or "".
    [[nodiscard]] virtual const std::string& path() const = 0;
};

}  // namespace hako::console
