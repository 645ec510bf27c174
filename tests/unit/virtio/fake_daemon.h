// A daemon of vhost-user for tests: it remembers what it was told, and answers as a test wishes.
#pragma once

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "virtio/device.h"
#include "virtio/vhost_ring.h"
#include "virtio/vhost_user/protocol.h"
#include "vmm/base/fd.h"

namespace hako::test {

namespace vu = virtio::vhost_user;

/// The other end of a socket pair, on a thread of its own, until either end goes.
class FakeDaemon {
  public:
    /// What goes out for a request instead of the usual answer.
    struct Answer {
        std::vector<std::byte> bytes;  ///< header and all
        std::vector<int> fds{};
        bool hang_up = false;  ///< afterwards
    };
    struct Heard {
        vu::Request request;
        std::vector<std::byte> payload;
        std::size_t fds = 0;
    };

    static constexpr std::uint64_t kFeatures = virtio::feature::kVersion1 | virtio::feature::kIndirectDesc |
                                               virtio::feature::kEventIdx | vu::feature::kProtocolFeatures |
                                               vu::feature::kLogAll;

    FakeDaemon() {
        int ends[2] = {-1, -1};
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) std::abort();
        front_ = Fd(ends[0]);
        own_ = Fd(ends[1]);
    }
    ~FakeDaemon() {
        leave();
        if (thread_.joinable()) thread_.join();
    }
    FakeDaemon(const FakeDaemon&) = delete;
    FakeDaemon& operator=(const FakeDaemon&) = delete;

    /// hako's end; the daemon begins to listen.
    Fd start() {
        thread_ = std::thread([this] { serve(); });
        return std::move(front_);
    }
    /// The daemon dies.
    void leave() { ::shutdown(own_.get(), SHUT_RDWR); }

    /// `count` more answers of that request are `answer`'s; before start(), or between calls.
    void answer(vu::Request request, std::function<std::optional<Answer>()> answer) {
        const std::scoped_lock lock(mutex_);
        answers_[request] = std::move(answer);
    }
    static std::vector<std::byte> message(std::uint32_t request, std::uint32_t flags,
                                          std::span<const std::byte> payload,
                                          std::optional<std::uint32_t> size = std::nullopt) {
        const vu::Header header{.request = request,
                                .flags = flags,
                                .size = size.value_or(static_cast<std::uint32_t>(payload.size()))};
        std::vector<std::byte> bytes(sizeof header + payload.size());
        std::memcpy(bytes.data(), &header, sizeof header);
        if (!payload.empty()) std::memcpy(bytes.data() + sizeof header, payload.data(), payload.size());
        return bytes;
    }
    template <typename T>
    static std::vector<std::byte> reply(vu::Request request, const T& value) {
        return message(static_cast<std::uint32_t>(request), vu::flag::kVersion | vu::flag::kReply,
                       std::as_bytes(std::span(&value, 1)));
    }

    [[nodiscard]] std::vector<Heard> heard() const {
        const std::scoped_lock lock(mutex_);
        return heard_;
    }
    [[nodiscard]] std::size_t count(vu::Request request) const {
        const std::scoped_lock lock(mutex_);
        std::size_t count = 0;
        for (const Heard& one : heard_)
            count += one.request == request ? 1 : 0;
        return count;
    }
    /// The payload of the latest one.
    template <typename T>
    [[nodiscard]] T last(vu::Request request) const {
        const std::scoped_lock lock(mutex_);
        T value{};
        for (const Heard& one : heard_)
            if (one.request == request)
                std::memcpy(&value, one.payload.data(), std::min(sizeof value, one.payload.size()));
        return value;
    }
    /// The latest descriptor that came with it, the daemon's still; -1: none came.
    [[nodiscard]] int last_fd(vu::Request request) const {
        const std::scoped_lock lock(mutex_);
        const auto found = fds_.find(request);
        return found == fds_.end() ? -1 : found->second.get();
    }

    std::uint64_t features = kFeatures;
    std::uint64_t protocol_features = vu::kProtocolFeatures;
    std::uint64_t queues = 8;
    std::string state = "what the daemon knows";  ///< that it gives, or was given
    std::uint16_t next_avail = 0;                 ///< where each ring stands

  private:
    void serve() {
        for (;;) {
            vu::Header header;
            std::vector<Fd> fds;
            if (!receive(std::as_writable_bytes(std::span(&header, 1)), fds)) return;
            Heard heard{.request = static_cast<vu::Request>(header.request), .payload = {}, .fds = 0};
            heard.payload.resize(std::min<std::uint32_t>(header.size, 4096));
            if (!receive(heard.payload, fds)) return;
            heard.fds = fds.size();
            if (!take(heard, header.flags, std::move(fds))) {
                leave();
                return;
            }
        }
    }

    bool take(const Heard& heard, std::uint32_t flags, std::vector<Fd> fds) {
        std::optional<Answer> own;
        {
            const std::scoped_lock lock(mutex_);
            heard_.push_back(heard);
            for (Fd& fd : fds)
                fds_.insert_or_assign(heard.request, std::move(fd));
            if (const auto found = answers_.find(heard.request); found != answers_.end())
                own = found->second();
        }
        if (own) return send(*own) && !own->hang_up;
        Answer usual;
        usual.bytes = usual_answer(heard, (flags & vu::flag::kNeedReply) != 0);
        if (!send(usual)) return false;
        if (loading_) read_state();
        return true;
    }

    /// Empty: none.
    std::vector<std::byte> usual_answer(const Heard& heard, bool acknowledge) {
        using enum vu::Request;
        switch (heard.request) {
            case kGetFeatures:
                return reply(heard.request, features);
            case kGetProtocolFeatures:
                return reply(heard.request, protocol_features);
            case kGetQueueNum:
                return reply(heard.request, queues);
            case kGetVringBase: {
                vu::VringState ring;
                std::memcpy(&ring, heard.payload.data(), sizeof ring);
                ring.number = next_avail;
                return reply(heard.request, ring);
            }
            case kSetLogBase:
                return reply(heard.request, std::uint64_t{0});
            case kSetDeviceStateFd: {
                move_state(heard);
                return reply(heard.request, vu::kStateNoFd);
            }
            case kCheckDeviceState:
                return reply(heard.request, std::uint64_t{0});
            default:
                if (!acknowledge) return {};
                return reply(heard.request, std::uint64_t{0});
        }
    }

    void move_state(const Heard& heard) {
        vu::DeviceStateTransfer transfer;
        std::memcpy(&transfer, heard.payload.data(), sizeof transfer);
        loading_ = transfer.direction == vu::kLoad;
        const std::scoped_lock lock(mutex_);
        if (loading_) return;
        [[maybe_unused]] const ssize_t put = ::write(fds_[heard.request].get(), state.data(), state.size());
        fds_.erase(heard.request);
    }
    void read_state() {
        const std::scoped_lock lock(mutex_);
        state.clear();
        std::array<char, 4096> piece{};
        for (ssize_t got = 1; got > 0;) {
            got = ::read(fds_[vu::Request::kSetDeviceStateFd].get(), piece.data(), piece.size());
            if (got > 0) state.append(piece.data(), static_cast<std::size_t>(got));
        }
        loading_ = false;
    }

    bool send(const Answer& answer) const {
        if (answer.bytes.empty()) return true;
        iovec part{.iov_base = const_cast<std::byte*>(answer.bytes.data()), .iov_len = answer.bytes.size()};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 16)> control{};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        if (!answer.fds.empty()) {
            const std::size_t bytes = answer.fds.size() * sizeof(int);
            message.msg_control = control.data();
            message.msg_controllen = CMSG_SPACE(bytes);
            cmsghdr* const head = CMSG_FIRSTHDR(&message);
            head->cmsg_level = SOL_SOCKET;
            head->cmsg_type = SCM_RIGHTS;
            head->cmsg_len = CMSG_LEN(bytes);
            std::memcpy(CMSG_DATA(head), answer.fds.data(), bytes);
        }
        return ::sendmsg(own_.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(answer.bytes.size());
    }

    bool receive(std::span<std::byte> bytes, std::vector<Fd>& fds) const {
        while (!bytes.empty()) {
            alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 16)> control{};
            iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
            msghdr message{};
            message.msg_iov = &part;
            message.msg_iovlen = 1;
            message.msg_control = control.data();
            message.msg_controllen = control.size();
            const ssize_t got = ::recvmsg(own_.get(), &message, MSG_CMSG_CLOEXEC);
            if (got <= 0) return false;
            for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head))
                for (std::size_t i = 0; i < (head->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
                    int fd = -1;
                    std::memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
                    fds.emplace_back(fd);
                }
            bytes = bytes.subspan(static_cast<std::size_t>(got));
        }
        return true;
    }

    Fd front_;
    Fd own_;
    mutable std::mutex mutex_;
    std::vector<Heard> heard_;
    std::map<vu::Request, Fd> fds_;
    std::map<vu::Request, std::function<std::optional<Answer>()>> answers_;
    bool loading_ = false;
    std::thread thread_;
};

}  // namespace hako::test
