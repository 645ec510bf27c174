// The console on a pseudo terminal that people attach to and leave.
#pragma once

#include <memory>
#include <string>

#include "devices/console/peer.h"
#include "devices/console/poll_once.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/io/timer.h"

namespace hako::console {

/// What came while nobody had it open is for who comes next. A reader that lags loses the oldest: the guest
/// is not held up.
class Pty final : public Peer {
  public:
    static Result<std::unique_ptr<Peer>> open(const PeerSetup& setup);

    [[nodiscard]] const std::string& path() const override { return path_; }
    void begin() override {}
    void end() override;
    [[nodiscard]] bool idle() const override {
        return !hang_up_.active() && !opened_.active() && !timer_.active();
    }
    void run() override;
    [[nodiscard]] bool present() const override { return present_; }
    [[nodiscard]] Size size() const override { return size_; }

  private:
    Pty(const PeerSetup& setup, Fd master, std::string path, Fd opens);

    [[nodiscard]] bool has_reader() const;
    void look();

    PeerSetup setup_;
    const std::string path_;
    Fd master_;
    Fd opens_;  ///< inotify: the pty was opened. Empty if there is no inotify.
    PollOnce hang_up_;
    PollOnce opened_;
    io::Timer timer_;  ///< looks now and then, without inotify
    bool present_ = false;
    Size size_;
    bool ending_ = false;
};

}  // namespace hako::console
