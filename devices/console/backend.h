// A console's host end: a file, a terminal, a pty, a socket, a file and a socket, or nothing.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <semaphore>
#include <span>
#include <string>

#include "devices/console/config.h"
#include "devices/console/history.h"
#include "devices/console/inlet.h"
#include "devices/console/metrics.h"
#include "devices/console/outlet.h"
#include "devices/console/peer.h"
#include "devices/console/sink.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"
#include "vmm/base/result.h"
#include "vmm/io/engine.h"

namespace hako::console {

/// Output goes through a ring of kDefaultBuffer bytes. What a file or a terminal has not taken stays in it,
/// and the guest waits when it is full; a pty or a socket that is slow or has nobody there loses the oldest.
///
/// Made and driven by the control thread; bytes move on the io thread. The engine and the io_context outlive
/// it, and it outlives the device that writes into it.
class Backend final : private io::BatchWork {
  public:
    /// Opens what `config` names; a bad path is the user's error. kOff swallows output and gives no input.
    /// `on_quit`: Ctrl-A x was typed on the terminal; called on the control thread.
    /// Ignores SIGPIPE and SIGXFSZ in this process unless somebody handles them.
    static Result<std::unique_ptr<Backend>> open(boost::asio::io_context& io, io::Engine& engine,
                                                 const Config& config, std::function<void()> on_quit = {});
    /// kTty on other descriptors than 0 and 1, for tests.
    static std::unique_ptr<Backend> on_terminal(boost::asio::io_context& io, io::Engine& engine, int input,
                                                int output, std::function<void()> on_quit);
    Backend(const Backend&) = delete;
    Backend& operator=(const Backend&) = delete;
    ~Backend() override;

    // On the control thread.

    /// Connects the device: input flows from now on, and a terminal becomes raw.
    void start(Port& port);
    /// Writes what the device and the buffer hold as flush() does, disconnects the device and gives the
    /// terminal back. Idempotent, and start() may follow with another device (a reboot).
    void stop();
    /// Writes all that is buffered, waiting for a slow reader no longer than `limit`; whether it was enough.
    /// One that has taken nothing since the last time is not waited for again.
    bool flush(std::chrono::milliseconds limit = std::chrono::milliseconds(1000));
    /// The pty's path ("/dev/pts/3"), else the file's or the socket's, or "".
    [[nodiscard]] const std::string& path() const;
    [[nodiscard]] const Config& config() const { return config_; }
    /// Counted since construction. Any thread.
    [[nodiscard]] Metrics metrics() const { return metrics_.values(); }

    // On the io thread.

    /// Takes output; how many of the bytes, from the first on. If not all, Port::writable() follows.
    std::size_t write(std::span<const std::uint8_t> bytes);
    /// The guest has room for input again.
    void input_wanted();
    /// Whether there is somebody to talk to: always, but for a pty or a socket.
    [[nodiscard]] bool attached() const { return attached_; }
    [[nodiscard]] Size size() const { return size_; }

  private:
    struct Waiter {
        bool (Backend::*condition)() const;
        std::binary_semaphore& done;
    };

    Backend(io::Engine& engine, const Config& config);
    io::BatchWork& work() { return *this; }
    Result<> open_file();
    void begin();
    void run_batch() override;
    void look_around();
    void feed();
    [[nodiscard]] std::size_t room() const;
    [[nodiscard]] bool drained() const;
    [[nodiscard]] bool input_idle() const { return inlet_.idle(); }
    [[nodiscard]] bool idle() const;
    [[nodiscard]] std::uint64_t written() const;
    bool await(bool (Backend::*condition)() const, std::optional<std::chrono::milliseconds> limit);

    io::Engine& engine_;
    const Config config_;
    LiveMetrics metrics_;
    History history_;
    Fd file_fd_;
    bool file_is_regular_ = false;
    std::optional<Outlet> file_;
    std::optional<Outlet> peer_outlet_;
    Inlet inlet_;
    std::unique_ptr<Peer> peer_;  ///< null: a file only, or nothing
    LogLimit file_errors_;

    Port* port_ = nullptr;
    bool refused_ = false;        ///< write() took less than it was given
    bool input_blocked_ = false;  ///< the guest refused bytes, and input_wanted() has not come
    bool attached_ = true;
    Size size_;
    std::optional<Waiter> waiter_;
    std::optional<std::uint64_t> stuck_at_;  ///< written() when a flush took too long; control thread
};

}  // namespace hako::console
