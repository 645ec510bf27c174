#include "virtio/vhost_user/frontend.h"

#include <array>
#include <utility>

#include "virtio/device.h"

namespace hako::virtio::vhost_user {

Result<std::unique_ptr<Frontend>> Frontend::connect(std::string path, std::chrono::milliseconds patience) {
    MessageSocket socket = HAKO_TRY(MessageSocket::connect(path));
    std::unique_ptr<Frontend> made(new Frontend(std::move(path), std::move(socket), patience));
    HAKO_TRY_WRAP(made->agree(), "{}", made->path_);
    return made;
}

Result<std::unique_ptr<Frontend>> Frontend::adopt(Fd socket, std::chrono::milliseconds patience) {
    std::unique_ptr<Frontend> made(new Frontend("", MessageSocket(std::move(socket)), patience));
    HAKO_TRY(made->agree());
    return made;
}

Result<> Frontend::reconnect() {
    if (path_.empty()) return fail_host("the daemon is gone");
    auto next = HAKO_TRY(connect(path_, patience_));
    if ((features_ & ~next->features_) != 0)
        return fail_host("the daemon at {} offers features {:#x} now, it offered {:#x}", path_,
                         next->features_, features_);
    close();
    socket_ = std::move(next->socket_);
    broken_ = false;
    protocol_features_ = next->protocol_features_;
    queues_ = next->queues_;
    return {};
}

Result<> Frontend::agree() {
    start_clock();
    HAKO_TRY(tell(Request::kSetOwner, std::span<const std::byte>{}));
    features_ = HAKO_TRY(ask<std::uint64_t>(Request::kGetFeatures, {}));
    if ((features_ & virtio::feature::kVersion1) == 0 || (features_ & feature::kProtocolFeatures) == 0)
        return fail_input(
            "the daemon offers features {:#x}, without VIRTIO_F_VERSION_1 or "
            "VHOST_USER_F_PROTOCOL_FEATURES: it is too old, or of another kind",
            features_);
    const auto offered = HAKO_TRY(ask<std::uint64_t>(Request::kGetProtocolFeatures, {}));
    const std::uint64_t agreed = offered & kProtocolFeatures;
    HAKO_TRY(tell(Request::kSetProtocolFeatures, agreed));
    protocol_features_ = agreed;
    if (has(protocol_feature::kMultiQueue)) queues_ = HAKO_TRY(ask<std::uint64_t>(Request::kGetQueueNum, {}));
    return {};
}

template <typename T>
Result<T> Frontend::checked(Result<T> result, Request request) {
    if (result) return result;
    broken_ = true;
    return std::unexpected(
        std::move(result).error().wrap(fmt::format("vhost-user request {}", static_cast<unsigned>(request))));
}

/// With REPLY_ACK the daemon says whether it has done it.
Result<> Frontend::tell(Request request, std::span<const std::byte> payload, std::span<const int> fds) {
    if (broken_ || !socket_.open()) return fail_host("the daemon is gone");
    const auto exchange = [&]() -> Result<> {
        const bool acknowledged = has(protocol_feature::kReplyAck);
        HAKO_TRY(socket_.send(request, acknowledged ? flag::kNeedReply : 0, payload, fds, deadline_));
        if (!acknowledged) return {};
        std::uint64_t failed = 0;
        HAKO_TRY(socket_.receive_reply(request, std::as_writable_bytes(std::span(&failed, 1)), sizeof failed,
                                       deadline_));
        if (failed != 0) return fail_host("the daemon refuses: {:#x}", failed);
        return {};
    };
    return checked(exchange(), request);
}

template <typename Answer>
Result<Answer> Frontend::ask(Request request, std::span<const std::byte> payload, std::span<const int> fds,
                             std::optional<Fd>* fd) {
    if (broken_ || !socket_.open()) return fail_host("the daemon is gone");
    const auto exchange = [&]() -> Result<Answer> {
        Answer answer{};
        HAKO_TRY(socket_.send(request, 0, payload, fds, deadline_));
        HAKO_TRY(socket_.receive_reply(request, std::as_writable_bytes(std::span(&answer, 1)), sizeof answer,
                                       deadline_, fd));
        return answer;
    };
    return checked(exchange(), request);
}

Result<> Frontend::set_features(std::uint64_t features) {
    return tell(Request::kSetFeatures, features | feature::kProtocolFeatures);
}

Result<> Frontend::set_memory(const GuestMemory& memory) {
    const auto regions = memory.regions();
    if (memory.fd() < 0) return fail_host("guest memory is private: a daemon cannot map it");
    if (regions.size() > kMaxRegions)
        return fail_host("guest memory has {} regions, a daemon takes {}", regions.size(), kMaxRegions);
    MemoryTable table{.count = static_cast<std::uint32_t>(regions.size())};
    std::array<int, kMaxRegions> fds{};
    for (std::size_t i = 0; i < regions.size(); ++i) {
        table.regions[i] = {
            .guest_address = regions[i].base.value,
            .size = regions[i].size,
            .user_address = reinterpret_cast<std::uintptr_t>(regions[i].host),
            .file_offset = regions[i].file_offset,
        };
        fds[i] = memory.fd();
    }
    const std::size_t unused = (kMaxRegions - regions.size()) * sizeof(MemoryTableRegion);
    return tell(Request::kSetMemTable,
                std::as_bytes(std::span(&table, 1)).first(sizeof(MemoryTable) - unused),
                std::span(fds).first(regions.size()));
}

Result<> Frontend::set_log(int log, std::uint64_t size) {
    // Answered in any case; with what, daemons differ: it ends the wait, and says no more.
    const LogArea area{.size = size, .offset = 0};
    std::array<std::byte, sizeof area> ignored{};
    if (broken_ || !socket_.open()) return fail_host("the daemon is gone");
    const auto exchange = [&]() -> Result<> {
        HAKO_TRY(socket_.send(Request::kSetLogBase, 0, std::as_bytes(std::span(&area, 1)), std::span(&log, 1),
                              deadline_));
        HAKO_TRY(socket_.receive_reply(Request::kSetLogBase, ignored, 0, deadline_));
        return {};
    };
    return checked(exchange(), Request::kSetLogBase);
}

Result<> Frontend::set_ring_size(unsigned ring, std::uint16_t size) {
    return tell(Request::kSetVringNum, VringState{.index = ring, .number = size});
}

Result<> Frontend::set_ring_addresses(const vhost_vring_addr& addresses) {
    return tell(Request::kSetVringAddr, addresses);
}

Result<> Frontend::set_ring_base(unsigned ring, std::uint16_t next_avail) {
    return tell(Request::kSetVringBase, VringState{.index = ring, .number = next_avail});
}

Result<std::uint16_t> Frontend::stop_ring(unsigned ring) {
    const VringState asked{.index = ring};
    const auto answer =
        HAKO_TRY(ask<VringState>(Request::kGetVringBase, std::as_bytes(std::span(&asked, 1))));
    if (answer.index == ring && answer.number <= 0xffff) return static_cast<std::uint16_t>(answer.number);
    return checked(Result<std::uint16_t>(fail_host("the daemon says that ring {}, where {} was asked, stands "
                                                   "at {:#x}",
                                                   answer.index, ring, answer.number)),
                   Request::kGetVringBase);
}

Result<> Frontend::tell_ring_file(Request request, unsigned ring, int eventfd) {
    const bool none = eventfd < 0;
    return tell(request, std::uint64_t{ring} | (none ? kNoFd : 0),
                none ? std::span<const int>{} : std::span<const int>(&eventfd, 1));
}

Result<> Frontend::set_ring_kick(unsigned ring, int eventfd) {
    return tell_ring_file(Request::kSetVringKick, ring, eventfd);
}

Result<> Frontend::set_ring_call(unsigned ring, int eventfd) {
    return tell_ring_file(Request::kSetVringCall, ring, eventfd);
}

Result<> Frontend::set_ring_error(unsigned ring, int eventfd) {
    return tell_ring_file(Request::kSetVringErr, ring, eventfd);
}

Result<> Frontend::enable_ring(unsigned ring, bool on) {
    return tell(Request::kSetVringEnable, VringState{.index = ring, .number = on ? 1U : 0U});
}

Result<Fd> Frontend::start_state_transfer(std::uint32_t direction, Fd fd) {
    const DeviceStateTransfer transfer{.direction = direction};
    const int handed = fd.get();
    std::optional<Fd> theirs;
    const auto answer = HAKO_TRY(ask<std::uint64_t>(
        Request::kSetDeviceStateFd, std::as_bytes(std::span(&transfer, 1)), std::span(&handed, 1), &theirs));
    if ((answer & kStateError) != 0) return fail_host("the daemon refuses to move its state: {:#x}", answer);
    if (theirs.has_value() == ((answer & kStateNoFd) != 0))
        return checked(
            Result<Fd>(fail_host("the daemon speaks of a descriptor that did not come, or is silent "
                                 "about one: {:#x}",
                                 answer)),
            Request::kSetDeviceStateFd);
    return theirs ? std::move(*theirs) : Fd();
}

Result<> Frontend::check_state_transfer() {
    const auto failed = HAKO_TRY(ask<std::uint64_t>(Request::kCheckDeviceState, {}));
    if (failed != 0) return fail_host("the daemon says that its state did not come through: {:#x}", failed);
    return {};
}

}  // namespace hako::virtio::vhost_user
