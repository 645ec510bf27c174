#include "devices/console/backend.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "devices/console/pty.h"
#include "devices/console/socket.h"
#include "devices/console/stdio.h"
#include "devices/console/tty.h"
#include "devices/console/write_error.h"

namespace hako::console {
namespace {

/// Fillings of the ring that one write() takes when nobody reads: then others get their turn.
constexpr int kMaxFillings = 4;

Lag lag_of(const Config& config) {
    return config.mode == Mode::kTty ? Lag::kWait : Lag::kDrop;
}

}  // namespace

Backend::Backend(io::Engine& engine, const Config& config)
    : engine_(engine),
      config_(config),
      history_(config.mode == Mode::kOff ? 1 : kDefaultBuffer),
      inlet_(engine, *this) {}

Result<std::unique_ptr<Backend>> Backend::open(boost::asio::io_context& io, io::Engine& engine,
                                               const Config& config, std::function<void()> on_quit) {
    ignore_write_signals();
    if (config.mode == Mode::kTty)
        return on_terminal(io, engine, STDIN_FILENO, STDOUT_FILENO, std::move(on_quit));
    std::unique_ptr<Backend> backend(new Backend(engine, config));
    if (config.mode == Mode::kFile) HAKO_TRY(backend->open_file());
    const bool has_peer = config.mode == Mode::kPty || config.mode == Mode::kSocket || !config.socket.empty();
    if (config.mode != Mode::kOff && has_peer) {
        Outlet& outlet =
            backend->peer_outlet_.emplace(engine, backend->history_, backend->work(), lag_of(config),
                                          config.patience, backend->metrics_.dropped);
        const PeerSetup setup{.engine = engine,
                              .work = *backend,
                              .outlet = outlet,
                              .inlet = backend->inlet_,
                              .metrics = backend->metrics_};
        backend->peer_ =
            HAKO_TRY(config.mode == Mode::kPty ? Pty::open(setup) : Socket::open(setup, config.socket));
    }
    backend->begin();
    return backend;
}

std::unique_ptr<Backend> Backend::on_terminal(boost::asio::io_context& io, io::Engine& engine, int input,
                                              int output, std::function<void()> on_quit) {
    Config config;
    config.mode = Mode::kTty;
    std::unique_ptr<Backend> backend(new Backend(engine, config));
    Outlet& outlet = backend->peer_outlet_.emplace(engine, backend->history_, backend->work(), Lag::kWait,
                                                   config.patience, backend->metrics_.dropped);
    const PeerSetup setup{.engine = engine,
                          .work = *backend,
                          .outlet = outlet,
                          .inlet = backend->inlet_,
                          .metrics = backend->metrics_};
    backend->peer_ = std::make_unique<Tty>(io, setup, input, output, std::move(on_quit));
    backend->begin();
    return backend;
}

Result<> Backend::open_file() {
    const std::string& path = config_.path;
    if (path.empty()) return fail_input("console file: its path is empty");
    // Without O_NONBLOCK a named pipe without a reader would hold up the start.
    file_fd_ =
        Fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600));
    if (!file_fd_.valid()) {
        const int error = errno;
        const char* const hint = error == ENXIO ? ": a named pipe needs a reader first" : "";
        return fail_input("cannot open console file {}: {}{}", path, errno_text(error), hint);
    }
    struct stat info{};
    file_is_regular_ = ::fstat(file_fd_.get(), &info) == 0 && S_ISREG(info.st_mode);
    file_.emplace(engine_, history_, work(), Lag::kWait, config_.patience, metrics_.dropped);
    return {};
}

void Backend::begin() {
    engine_.run_sync([&] {
        if (file_) file_->attach(file_fd_.get(), file_is_regular_ ? Target::kFile : Target::kStream);
        if (peer_) peer_->begin();
        engine_.schedule(*this);
        look_around();
    });
}

Backend::~Backend() {
    // The port may be gone by now.
    engine_.run_sync([&] { port_ = nullptr; });
    flush(std::chrono::milliseconds(1000));
    if (peer_) peer_->stop();
    engine_.run_sync([&] {
        if (peer_) peer_->end();
        inlet_.detach();
        if (file_) file_->detach();
        if (peer_outlet_) peer_outlet_->detach();
    });
    await(&Backend::idle, std::nullopt);
    engine_.run_sync([&] { engine_.unschedule(*this); });
}

void Backend::start(Port& port) {
    engine_.run_sync([&] {
        port_ = &port;
        input_blocked_ = false;
        port.writable();
        engine_.schedule(*this);
    });
    if (peer_) peer_->start();
}

void Backend::stop() {
    engine_.run_sync([&] {
        if (port_ != nullptr) port_->writable();
    });
    flush(std::chrono::milliseconds(1000));
    if (peer_) peer_->stop();
    engine_.run_sync([&] { port_ = nullptr; });
    // What the user types from now on is the shell's.
    if (config_.mode == Mode::kTty) await(&Backend::input_idle, std::nullopt);
}

bool Backend::flush(std::chrono::milliseconds limit) {
    if (stuck_at_ && *stuck_at_ == engine_.run_sync([&] { return written(); })) limit = {};
    const bool done = await(&Backend::drained, limit);
    stuck_at_.reset();
    if (!done) stuck_at_ = engine_.run_sync([&] { return written(); });
    return done;
}

/// Grows with every byte that goes out.
std::uint64_t Backend::written() const {
    return (file_ ? file_->position() : 0) + (peer_outlet_ ? peer_outlet_->position() : 0);
}

const std::string& Backend::path() const {
    return peer_ && config_.mode != Mode::kFile ? peer_->path() : config_.path;
}

std::size_t Backend::write(std::span<const std::uint8_t> bytes) {
    std::size_t done = 0;
    if (!file_ && !peer_outlet_) done = bytes.size();
    for (int filling = 0; filling < kMaxFillings && done < bytes.size(); ++filling) {
        const std::size_t count = std::min(room(), bytes.size() - done);
        if (count == 0) break;
        history_.append(bytes.subspan(done, count));
        if (file_) file_->overwritten();
        if (peer_outlet_) peer_outlet_->overwritten();
        done += count;
    }
    metrics_.output.add(done);
    refused_ = done < bytes.size();
    engine_.schedule(*this);
    return done;
}

std::size_t Backend::room() const {
    std::uint64_t held = history_.end();
    if (file_) held = std::min(held, file_->held());
    if (peer_outlet_) held = std::min(held, peer_outlet_->held());
    return history_.capacity() - static_cast<std::size_t>(history_.end() - held);
}

void Backend::input_wanted() {
    input_blocked_ = false;
    engine_.schedule(*this);
}

void Backend::run_batch() {
    if (peer_) peer_->run();
    if (file_) {
        settle_write_error(*file_, file_is_regular_, config_.path, file_errors_);
        file_->pump();
    }
    if (peer_outlet_) peer_outlet_->pump();
    look_around();
    feed();
    if (refused_ && port_ != nullptr && room() > 0) {
        refused_ = false;
        port_->writable();
    }
    if (waiter_ && (this->*waiter_->condition)()) {
        std::binary_semaphore& done = waiter_->done;
        waiter_.reset();
        done.release();
    }
}

/// Who is there, and how large the window is.
void Backend::look_around() {
    if (!peer_) return;
    const bool attached = file_ || peer_->present();
    if (std::exchange(attached_, attached) != attached && port_ != nullptr) port_->attached_changed();
    // Of a client that has left the last size stays: a new one will say.
    const Size size = peer_->size();
    if (!size.known() || size == size_) return;
    size_ = size;
    if (port_ != nullptr) port_->resized();
}

void Backend::feed() {
    if (port_ == nullptr) return;
    if (const auto bytes = inlet_.bytes(); !bytes.empty() && !input_blocked_) {
        const std::size_t taken = port_->receive(bytes);
        metrics_.input.add(taken);
        input_blocked_ = taken < bytes.size();
        inlet_.take(taken);
        if (peer_ && inlet_.ended()) engine_.schedule(*this);
    }
    inlet_.pump();
}

bool Backend::drained() const {
    return (!file_ || file_->drained()) && (!peer_outlet_ || peer_outlet_->drained());
}

bool Backend::idle() const {
    return inlet_.idle() && (!peer_ || peer_->idle()) && (!file_ || file_->idle()) &&
           (!peer_outlet_ || peer_outlet_->idle());
}

/// Waits until the condition holds, looked at on the io thread.
bool Backend::await(bool (Backend::*condition)() const, std::optional<std::chrono::milliseconds> limit) {
    std::binary_semaphore done(0);
    engine_.run_sync([&] {
        waiter_.emplace(Waiter{.condition = condition, .done = done});
        engine_.schedule(*this);
    });
    bool met = true;
    if (limit) {
        met = done.try_acquire_for(*limit);
    } else {
        done.acquire();
    }
    // It has let go of the semaphore then.
    engine_.run_sync([&] { waiter_.reset(); });
    return met;
}

}  // namespace hako::console
