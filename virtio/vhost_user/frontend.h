// The front end of vhost-user: hako's end of the connection to a daemon that serves a device's queues.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "virtio/vhost_ring.h"
#include "virtio/vhost_user/message_socket.h"
#include "virtio/vhost_user/protocol.h"
#include "vmm/base/fd.h"
#include "vmm/base/result.h"
#include "vmm/memory/guest_memory.h"

namespace hako::virtio::vhost_user {

/// How long a daemon may take for what it is asked at once: to start, to stop, to give its state.
inline constexpr std::chrono::milliseconds kPatience{5000};

/// A connection and what was agreed on it. The daemon is not trusted: each answer is checked, none is waited
/// for beyond the time limit, and after one that is wrong, late or missing nothing more is said: close().
///
/// One caller at a time, on any thread but the io thread. Outlives a reboot, since daemons end with their
/// connection.
class Frontend {
  public:
    /// Connects and agrees on protocol features. What the user can mend is a Fault::kInput.
    static Result<std::unique_ptr<Frontend>> connect(std::string path,
                                                     std::chrono::milliseconds patience = kPatience);
    /// The same over a connected socket; it cannot connect again.
    static Result<std::unique_ptr<Frontend>> adopt(Fd socket, std::chrono::milliseconds patience = kPatience);

    /// For messages.
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] bool connected() const { return socket_.open() && !broken_ && !socket_.hung_up(); }
    /// For a poll that tells of the end; -1: closed.
    [[nodiscard]] int fd() const { return socket_.fd(); }
    /// A new connection to the same path, which must offer what the old one did.
    Result<> reconnect();
    void close() { socket_.close(); }

    /// VIRTIO features that it offers, VHOST_F_LOG_ALL among them.
    [[nodiscard]] std::uint64_t features() const { return features_; }
    /// How many queues it serves at most; unset: it does not say.
    [[nodiscard]] std::optional<std::uint64_t> queues() const { return queues_; }
    /// It can tell which pages it writes.
    [[nodiscard]] bool can_log() const {
        return (features_ & feature::kLogAll) != 0 && has(protocol_feature::kLogShmFd);
    }
    /// It can give its state, and go on from one.
    [[nodiscard]] bool can_move() const { return has(protocol_feature::kDeviceState); }

    /// What follows, up to the next call, has one time limit.
    void start_clock() { deadline_ = Clock::now() + patience_; }
    [[nodiscard]] Clock::time_point deadline() const { return deadline_; }

    /// `features`: negotiated with the driver, and kLogAll or not.
    Result<> set_features(std::uint64_t features);
    /// Also while rings run: when memory has come or gone.
    Result<> set_memory(const GuestMemory& memory);
    /// `log`: a file of `size` bytes, a bit for each page of 4 KiB from guest address 0 on.
    Result<> set_log(int log, std::uint64_t size);
    Result<> set_ring_size(unsigned ring, std::uint16_t size);
    /// flags and log_guest_addr included.
    Result<> set_ring_addresses(const vhost_vring_addr& addresses);
    Result<> set_ring_base(unsigned ring, std::uint16_t next_avail);
    /// The ring stands still when it returns: the next available-ring index.
    Result<std::uint16_t> stop_ring(unsigned ring);
    /// -1: none.
    Result<> set_ring_kick(unsigned ring, int eventfd);
    Result<> set_ring_call(unsigned ring, int eventfd);
    Result<> set_ring_error(unsigned ring, int eventfd);
    Result<> enable_ring(unsigned ring, bool on);

    /// Hands `fd` over, through which the state goes. The daemon may have another: then that is it.
    Result<Fd> start_state_transfer(std::uint32_t direction, Fd fd);
    Result<> check_state_transfer();

  private:
    Frontend(std::string path, MessageSocket socket, std::chrono::milliseconds patience)
        : path_(std::move(path)), socket_(std::move(socket)), patience_(patience) {}
    Result<> agree();
    [[nodiscard]] bool has(std::uint64_t protocol_feature) const {
        return (protocol_features_ & protocol_feature) != 0;
    }
    /// Ends the use of the connection after an error, and says whose it was.
    template <typename T>
    Result<T> checked(Result<T> result, Request request);
    Result<> tell(Request request, std::span<const std::byte> payload, std::span<const int> fds = {});
    template <typename Payload>
    Result<> tell(Request request, const Payload& payload, std::span<const int> fds = {}) {
        return tell(request, std::as_bytes(std::span(&payload, 1)), fds);
    }
    Result<> tell_ring_file(Request request, unsigned ring, int eventfd);
    template <typename Answer>
    Result<Answer> ask(Request request, std::span<const std::byte> payload, std::span<const int> fds = {},
                       std::optional<Fd>* fd = nullptr);

    const std::string path_;
    MessageSocket socket_;
    bool broken_ = false;
    const std::chrono::milliseconds patience_;
    Clock::time_point deadline_{};
    std::uint64_t features_ = 0;
    std::uint64_t protocol_features_ = 0;
    std::optional<std::uint64_t> queues_;
};

}  // namespace hako::virtio::vhost_user
