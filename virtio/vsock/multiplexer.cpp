#include "virtio/vsock/multiplexer.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <random>
#include <string_view>
#include <utility>

namespace hako::virtio::vsock {
namespace {

using Stage = Connection::Stage;

constexpr std::chrono::seconds kTick{1};
// Seconds until a connection is given up. The last two are no shorter than Linux' own.
constexpr std::uint8_t kFirstLine = 60;
constexpr std::uint8_t kGuestAnswers = 10;
constexpr std::uint8_t kGuestCloses = 10;

/// Ports of the host's side of connections that the host asks for: from here up.
constexpr std::uint32_t kFirstHostPort = 1U << 30;
constexpr std::uint32_t kNoPort = 0xffff'ffff;  // means any

/// A restored guest may still have sockets with the ports of before, to which packets for new ones would go.
std::uint32_t random_host_port() {
    std::random_device entropy;
    return std::uniform_int_distribution<std::uint32_t>(kFirstHostPort, kNoPort - 1)(entropy);
}

/// The guest is told of room again when it knows of no more than the other half.
constexpr std::uint32_t kWorthTelling = Connection::kBufAlloc / 2;

std::uint16_t value(Operation operation) {
    return static_cast<std::uint16_t>(operation);
}

}  // namespace

Multiplexer::Multiplexer(io::Engine& engine, const HostEnd& host, std::uint64_t cid,
                         LiveConnectionMetrics& metrics)
    : engine_(engine),
      host_(host),
      cid_(cid),
      metrics_(metrics),
      timer_(engine, *this),
      pool_(engine, static_cast<ConnectionOwner&>(*this)),
      next_port_(random_host_port()) {}

void Multiplexer::start(io::BatchWork* receive, io::BatchWork* transmit, bool paused) {
    receive_ = receive;
    transmit_ = transmit;
    paused_ = paused;
    stopping_ = false;
    accept_.failed = false;
    accept();
}

void Multiplexer::stop(std::latch& idle) {
    idle_ = &idle;
    receive_ = transmit_ = nullptr;
    answer_count_ = 0;
    stopping_ = true;
    timer_.stop();
    if (accept_.active)
        io_uring_prep_cancel(&engine_.prepare(nullptr), static_cast<io::Completion*>(&accept_), 0);
    pool_.for_each([this](Connection& connection) {
        connection.pending = 0;
        close(connection);
    });
    engine_.schedule(*this);
}

void Multiplexer::run_batch() {
    if (!timer_.active() && std::exchange(ticking_, false) && !stopping_) tick();
    if (idle_ == nullptr || accept_.active || timer_.active() || pool_.used() != 0) return;
    engine_.submit_now();  // what was closed is so when it is said
    std::exchange(idle_, nullptr)->count_down();
}

void Multiplexer::accept() {
    accept_.active = true;
    io_uring_sqe& entry = engine_.prepare(&accept_);
    // Blocking sockets: the ring waits for them.
    if (accept_.multishot) {
        io_uring_prep_multishot_accept(&entry, host_.listening(), nullptr, nullptr, SOCK_CLOEXEC);
    } else {
        io_uring_prep_accept(&entry, host_.listening(), nullptr, nullptr, SOCK_CLOEXEC);
    }
}

void Multiplexer::accepted(std::int32_t result, std::uint32_t flags) {
    accept_.active = (flags & IORING_CQE_F_MORE) != 0;
    if (result >= 0) {
        Fd fd(result);
        Connection* const connection = stopping_ ? nullptr : pool_.take();
        if (connection != nullptr) {
            connection->begin(std::move(fd), Stage::kHandshake);
            metrics_.begun.add(1);
            give_up_after(*connection, kFirstLine);
            connection->stream.receive();
        } else if (!stopping_) {
            metrics_.refused.add(1);
        }
    } else if (result == -EINVAL && accept_.multishot) {
        accept_.multishot = false;
    } else if (result != -ECANCELED && result != -ECONNABORTED && result != -EINTR) {
        accept_.failed = true;  // too many files, say
    }
    if (stopping_) {
        engine_.schedule(*this);
    } else if (!accept_.active && !accept_.failed) {
        accept();
    } else if (accept_.failed && !timer_.active()) {
        ticking_ = true;
        timer_.start(kTick);
    }
}

void Multiplexer::give_up_after(Connection& connection, std::uint8_t seconds) {
    connection.seconds = seconds;
    if (timer_.active() || stopping_) return;
    ticking_ = true;
    timer_.start(kTick);
}

void Multiplexer::tick() {
    if (std::exchange(accept_.failed, false) && !accept_.active) accept();
    bool more = false;
    pool_.for_each([&](Connection& connection) {
        if (connection.seconds == 0) return;
        if (!paused_ && --connection.seconds == 0) {
            // A client that says nothing is no guest's concern.
            if (connection.stage == Stage::kHandshake) {
                metrics_.refused.add(1);
                return close(connection);
            }
            return reset(connection);
        }
        more = true;
    });
    if (!more || timer_.active()) return;
    ticking_ = true;
    timer_.start(kTick);
}

// What the host does.

void Multiplexer::connection_changed(Connection& connection) {
    switch (connection.stage) {
        case Stage::kFree:
        case Stage::kRequested:
        case Stage::kClosing:
            return;
        case Stage::kHandshake:
            return shake_hands(connection);
        case Stage::kConnected:
            return host_changed(connection);
        case Stage::kDraining:
            return drain(connection);
        case Stage::kClosed:
            return release_if_done(connection);
    }
}

void Multiplexer::shake_hands(Connection& connection) {
    const auto bytes = connection.stream.received();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                                std::min(bytes.size(), kMaxConnectLine));
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos && text.size() < kMaxConnectLine && !connection.stream.ended())
        return connection.stream.receive();
    const auto port = end == std::string_view::npos ? std::nullopt : parse_connect(text.substr(0, end));
    if (!port) {
        metrics_.refused.add(1);
        return close(connection);
    }
    connection.stream.take(end + 1);
    connection.stage = Stage::kRequested;
    pool_.name(connection, new_ports(*port));
    connection.pending = packet::kRequest;
    give_up_after(connection, kGuestAnswers);
    make_ready(connection);
}

Ports Multiplexer::new_ports(std::uint32_t guest_port) {
    // Ends: there are more ports than connections.
    for (;;) {
        const Ports ports{.host = next_port_, .guest = guest_port};
        if (++next_port_ == kNoPort) next_port_ = kFirstHostPort;
        if (pool_.find(ports) == nullptr) return ports;
    }
}

void Multiplexer::host_changed(Connection& connection) {
    HostStream& stream = connection.stream;
    stream.send();
    if ((connection.guest_will_not & kNoReceive) != 0) stream.take(stream.received().size());
    if (stream.ended()) {
        stream.watch();
    } else if (stream.received().empty()) {
        stream.receive();
    }
    settle(connection);
}

/// What follows from how things stand on both sides.
void Multiplexer::settle(Connection& connection) {
    if ((connection.guest_will_not & kNoSend) != 0) connection.stream.end_sending();
    if (static_cast<std::uint32_t>(connection.forwarded()) - connection.told_forwarded >= kWorthTelling)
        connection.pending |= packet::kCreditUpdate;
    if (connection.has_data() && connection.credit() == 0 && !connection.asked_for_credit) {
        connection.asked_for_credit = true;
        connection.pending |= packet::kCreditRequest;
    }
    make_ready(connection);
}

/// The guest has left: what it sent goes to the host, which may take its time.
void Multiplexer::drain(Connection& connection) {
    connection.stream.send();
    if (connection.stream.waiting() == 0) close(connection);
}

/// No packet but a kReset will go to the guest, and none of its will be heard.
void Multiplexer::close(Connection& connection) {
    connection.stage = Stage::kClosed;
    connection.seconds = 0;
    connection.pending &= packet::kReset;
    if (connection.pending == 0) pool_.forget_name(connection);
    connection.stream.close();
    release_if_done(connection);
}

void Multiplexer::reset(Connection& connection) {
    metrics_.resets.add(1);
    connection.pending = packet::kReset;
    make_ready(connection);
    close(connection);
}

void Multiplexer::release_if_done(Connection& connection) {
    if (connection.pending != 0 || connection.stream.is_open()) return;
    pool_.release(connection);
    metrics_.ended.add(1);
    if (stopping_) engine_.schedule(*this);
}

// What the guest does.

bool Multiplexer::take(const Header& header, Chain& chain) {
    if (header.src_cid != cid_) return false;
    const bool known = header.dst_cid == kHostCid && header.type == kTypeStream;
    const Ports ports{.host = header.dst_port, .guest = header.src_port};
    Connection* const connection = known ? pool_.find(ports) : nullptr;
    if (connection != nullptr) {
        take(*connection, header, chain);
    } else if (known && header.op == value(Operation::kRequest)) {
        request(header, ports);
    } else {
        answer_reset(header);
    }
    return true;
}

void Multiplexer::refuse(const Header& header) {
    if (header.src_cid != cid_) return;
    Connection* const connection = pool_.find({.host = header.dst_port, .guest = header.src_port});
    if (connection == nullptr || header.dst_cid != kHostCid || header.type != kTypeStream)
        return answer_reset(header);
    if (connection->stage != Stage::kClosed && connection->stage != Stage::kDraining) reset(*connection);
}

/// Never an answer to a kReset (5.10.6.6), which would have one too.
void Multiplexer::answer_reset(const Header& header) {
    if (header.op == value(Operation::kReset) || answer_count_ == kMaxAnswers) return;
    answers_[(first_answer_ + answer_count_++) % kMaxAnswers] = {.src_cid = header.dst_cid,
                                                                 .dst_cid = header.src_cid,
                                                                 .src_port = header.dst_port,
                                                                 .dst_port = header.src_port,
                                                                 .len = 0,
                                                                 .type = header.type,
                                                                 .op = value(Operation::kReset)};
    if (receive_ != nullptr) engine_.schedule(*receive_);
}

void Multiplexer::request(const Header& header, const Ports& ports) {
    Connection* const connection = pool_.take();
    Fd fd = connection == nullptr ? Fd() : host_.connect(ports.host);
    if (!fd.valid()) {
        if (connection != nullptr) pool_.release(*connection);
        metrics_.refused.add(1);
        return answer_reset(header);
    }
    connection->begin(std::move(fd), Stage::kConnected);
    metrics_.begun.add(1);
    metrics_.from_guest.add(1);
    pool_.name(*connection, ports);
    connection->peer_buf_alloc = header.buf_alloc;
    connection->peer_fwd_cnt = header.fwd_cnt;
    connection->pending = packet::kResponse;
    connection->stream.receive();
    make_ready(*connection);
}

void Multiplexer::take(Connection& connection, const Header& header, Chain& chain) {
    if (connection.stage == Stage::kClosed || connection.stage == Stage::kDraining) return;
    connection.peer_buf_alloc = header.buf_alloc;
    connection.peer_fwd_cnt = header.fwd_cnt;
    if (connection.credit() > 0) connection.asked_for_credit = false;
    switch (static_cast<Operation>(header.op)) {
        case Operation::kResponse:
            return response(connection);
        case Operation::kReset:
            if (connection.stage == Stage::kRequested) metrics_.refused.add(1);
            if (connection.stage == Stage::kConnected) metrics_.resets.add(1);
            connection.pending = 0;
            return close(connection);
        case Operation::kShutdown:
            return shutdown(connection, header.flags);
        case Operation::kReadWrite:
            return payload(connection, header.len, chain);
        case Operation::kCreditUpdate:
            return make_ready(connection);
        case Operation::kCreditRequest:
            if (connection.stage == Stage::kConnected) connection.pending |= packet::kCreditUpdate;
            return make_ready(connection);
        default:
            return reset(connection);
    }
}

void Multiplexer::response(Connection& connection) {
    // One before the request has gone out is none.
    if (connection.stage != Stage::kRequested || connection.pending != 0) return reset(connection);
    connection.stage = Stage::kConnected;
    connection.seconds = 0;
    metrics_.from_host.add(1);
    const ConnectAnswer answer(connection.ports.host);
    const auto room = connection.stream.room(answer.length);
    std::ranges::copy(std::as_bytes(std::span(answer.text())), room[0].begin());  // the ring is empty
    connection.stream.written(answer.length);
    connection.greeting = answer.length;
    host_changed(connection);
}

void Multiplexer::payload(Connection& connection, std::uint32_t length, Chain& chain) {
    const bool open = connection.stage == Stage::kConnected || connection.stage == Stage::kClosing;
    if (!open || (connection.guest_will_not & kNoSend) != 0 || length > connection.guests_credit())
        return reset(connection);
    connection.from_guest += length;
    // It knows by now, or soon, that nobody is there.
    if (connection.stage == Stage::kClosing) return;
    for (const std::span<std::byte> part : connection.stream.room(length)) {
        [[maybe_unused]] const bool taken = chain.take_readable(part);
    }
    connection.stream.written(length);
    written_.push(connection);
}

void Multiplexer::flush() {
    while (Connection* const connection = written_.front()) {
        written_.pop();
        if (connection->stage == Stage::kConnected) host_changed(*connection);
    }
}

void Multiplexer::shutdown(Connection& connection, std::uint32_t flags) {
    if (connection.stage == Stage::kRequested) return reset(connection);
    connection.guest_will_not |= flags & kNoMore;
    if (connection.guest_will_not == kNoMore) return guest_left(connection);
    if (connection.stage != Stage::kConnected) return;
    if ((connection.guest_will_not & kNoReceive) != 0) connection.stream.end_receiving();
    host_changed(connection);
}

/// It is told at once that all is over (5.10.6.6.1), and its ports are free for it.
void Multiplexer::guest_left(Connection& connection) {
    connection.pending = packet::kReset;
    connection.seconds = 0;
    make_ready(connection);
    if (connection.stage == Stage::kClosing) return close(connection);
    connection.stage = Stage::kDraining;
    drain(connection);
}

// What the guest is told.

void Multiplexer::make_ready(Connection& connection) {
    if (!connection.has_packet()) return;
    ready_.push(connection);
    if (receive_ != nullptr) engine_.schedule(*receive_);
}

bool Multiplexer::has_packet() {
    if (answer_count_ > 0) return true;
    while (Connection* const connection = ready_.front()) {
        if (connection->has_packet()) return true;
        ready_.pop();
    }
    return false;
}

Packet Multiplexer::packet(std::size_t room) {
    if (answer_count_ > 0) return {.header = answers_[first_answer_], .payload = {}, .connection = nullptr};
    Connection& connection = *ready_.front();
    Packet packet{.header = {.src_cid = kHostCid,
                             .dst_cid = cid_,
                             .src_port = connection.ports.host,
                             .dst_port = connection.ports.guest,
                             .type = kTypeStream,
                             .buf_alloc = Connection::kBufAlloc,
                             .fwd_cnt = static_cast<std::uint32_t>(connection.forwarded())},
                  .payload = {},
                  .connection = &connection};
    const auto is = [&](Operation operation) { packet.header.op = value(operation); };
    if ((connection.pending & packet::kRequest) != 0) {
        is(Operation::kRequest);
    } else if ((connection.pending & packet::kResponse) != 0) {
        is(Operation::kResponse);
    } else if ((connection.pending & packet::kReset) != 0) {
        is(Operation::kReset);
    } else if ((connection.pending & packet::kCreditRequest) != 0) {
        is(Operation::kCreditRequest);
    } else if (connection.has_data() && connection.credit() > 0) {
        is(Operation::kReadWrite);
        const auto received = connection.stream.received();
        packet.payload = received.first(std::min({received.size(), room, std::size_t{connection.credit()}}));
        packet.header.len = static_cast<std::uint32_t>(packet.payload.size());
    } else if ((connection.host_will_not() & ~connection.told) != 0) {
        is(Operation::kShutdown);
        packet.header.flags = connection.host_will_not();
    } else {
        is(Operation::kCreditUpdate);
    }
    return packet;
}

void Multiplexer::delivered(const Packet& packet) {
    if (packet.connection == nullptr) {
        first_answer_ = (first_answer_ + 1) % kMaxAnswers;
        if (answer_count_-- == kMaxAnswers && transmit_ != nullptr) engine_.schedule(*transmit_);
        return;
    }
    Connection& connection = *packet.connection;
    // The others come before its next one.
    ready_.pop();
    connection.told_forwarded = packet.header.fwd_cnt;
    connection.pending &= static_cast<std::uint8_t>(~packet::kCreditUpdate);
    switch (static_cast<Operation>(packet.header.op)) {
        case Operation::kRequest:
            connection.pending &= static_cast<std::uint8_t>(~packet::kRequest);
            break;
        case Operation::kResponse:
            connection.pending &= static_cast<std::uint8_t>(~packet::kResponse);
            break;
        case Operation::kCreditRequest:
            connection.pending &= static_cast<std::uint8_t>(~packet::kCreditRequest);
            break;
        case Operation::kReset:
            connection.pending = 0;
            pool_.forget_name(connection);
            if (connection.stage == Stage::kClosed) release_if_done(connection);
            return;
        case Operation::kShutdown:
            connection.told = packet.header.flags;
            if (connection.told == kNoMore) {
                connection.stage = Stage::kClosing;
                connection.pending = 0;
                connection.stream.close();
                give_up_after(connection, kGuestCloses);
                return;
            }
            break;
        case Operation::kReadWrite:
            connection.to_guest += packet.header.len;
            connection.stream.take(packet.payload.size());
            if (connection.stage == Stage::kConnected) return host_changed(connection);
            break;
        default:
            break;
    }
    if (connection.stage == Stage::kConnected) {
        settle(connection);
    } else {
        make_ready(connection);
    }
}

}  // namespace hako::virtio::vsock
