// The host's end of a network interface: one queue of a tap, or a socket in its place.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "virtio/net/config.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"

namespace hako::virtio::net {

/// One open tap queue: each read and write is a frame behind a 12-byte virtio-net header.
///
/// Non-blocking, so that no read stays in the kernel: a pause has nothing to cancel, and one packet does not
/// wake all reads that wait (a tap's wait queue knows no exclusive waiters).
class Tap {
  public:
    /// Opens one queue of the tap for each pair of `config`, making the tap if there is none, or takes over
    /// `config.fds`. What the user can mend is a Fault::kInput that names the tap.
    static Result<std::vector<Tap>> open(const Config& config);
    /// Takes over an open tap, or a SOCK_SEQPACKET or SOCK_DGRAM socket whose other end speaks the same
    /// frames. `name` stands for it in messages when it has no name of its own.
    static Result<Tap> adopt(Fd file, std::string name);

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] int fd() const { return fd_.get(); }
    /// False for a socket in its place.
    [[nodiscard]] bool is_tap() const { return is_tap_; }

    /// What the host may leave to the guest: kGuestOffloads bits (TUNSETOFFLOAD).
    Result<> set_offloads(std::uint64_t offloads);
    /// Whether the host spreads packets to this queue too; a detached one can be neither read nor written.
    Result<> set_attached(bool attached);

  private:
    Tap() = default;
    static Result<Tap> open_queue(const Config& config, const std::string& name);

    std::string name_;
    Fd fd_;
    bool is_tap_ = false;
    bool attached_ = true;
};

}  // namespace hako::virtio::net
