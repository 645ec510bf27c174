// The console on a unix stream socket that a client connects to.
#pragma once

#include <memory>
#include <string>

#include "devices/console/peer.h"
#include "devices/console/poll_once.h"
#include "vmm/base/fd.h"
#include "vmm/base/listen_socket.h"
#include "vmm/base/result.h"
#include "vmm/io/timer.h"

namespace hako::console {

/// One client at a time, others are turned away; it may go and another come. What came while nobody was there
/// is for who comes next. A client that lags loses the oldest: the guest is not held up.
class Socket final : public Peer {
  public:
    /// Made at `path` with mode 0600; what the user can mend is a Fault::kInput.
    static Result<std::unique_ptr<Peer>> open(const PeerSetup& setup, const std::string& path);

    [[nodiscard]] const std::string& path() const override { return path_; }
    void begin() override { accept(); }
    void end() override;
    [[nodiscard]] bool idle() const override {
        return !accept_.active && !hang_up_.active() && !retry_.active() && !look_.active();
    }
    void run() override;
    /// A client that has left is there until the guest has taken what it sent, or another comes.
    [[nodiscard]] bool present() const override { return client_.valid(); }

  private:
    struct Accept final : io::Completion {
        explicit Accept(io::BatchWork& to, io::Engine& on) : work(to), engine(on) {}
        void complete(std::int32_t result, std::uint32_t /*flags*/) override;

        io::BatchWork& work;
        io::Engine& engine;
        bool active = false;
        bool failed = false;
        Fd fd;
    };

    Socket(const PeerSetup& setup, ListenSocket listening, std::string path);
    void accept();
    void take_accepted();
    void take_leave();
    [[nodiscard]] bool client_gone();

    PeerSetup setup_;
    const std::string path_;
    ListenSocket listening_;
    Accept accept_;
    PollOnce hang_up_;
    io::Timer retry_;  ///< of accept(), when the process has too many files
    io::Timer look_;   ///< at a client that sends no more: nothing else tells when it has left
    Fd client_;
    Fd next_;  ///< waits until nothing of the last client is in the kernel
    bool hung_up_ = false;
    bool ending_ = false;
};

}  // namespace hako::console
