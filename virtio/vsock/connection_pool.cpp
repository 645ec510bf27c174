#include "virtio/vsock/connection_pool.h"

#include <algorithm>
#include <random>

namespace hako::virtio::vsock {
namespace {

std::uint64_t random_number() {
    std::random_device entropy;
    return std::uint64_t{entropy()} << 32 | entropy();
}

}  // namespace

ConnectionPool::ConnectionPool(io::Engine& engine, ConnectionOwner& owner)
    : in_(kMaxConnections * HostStream::kInBytes),
      out_(kMaxConnections * HostStream::kOutBytes),
      secret_(random_number()) {
    for (std::size_t i = 0; i < kMaxConnections; ++i)
        all_.emplace_back(engine, owner, in_.get() + i * HostStream::kInBytes,
                          out_.get() + i * HostStream::kOutBytes);
    for (auto connection = all_.rbegin(); connection != all_.rend(); ++connection) {
        connection->next = free_;
        free_ = &*connection;
    }
}

Connection* ConnectionPool::take() {
    Connection* const taken = free_;
    if (taken == nullptr) return nullptr;
    free_ = taken->next;
    most_used_ = std::max(most_used_, ++used_);
    return taken;
}

void ConnectionPool::release(Connection& connection) {
    forget_name(connection);
    connection.stage = Connection::Stage::kFree;
    // The last one first: its memory is there.
    connection.next = free_;
    free_ = &connection;
    if (--used_ > 0 || most_used_ <= kKept) return;
    most_used_ = 0;
    in_.discard_from(kKept * HostStream::kInBytes);
    out_.discard_from(kKept * HostStream::kOutBytes);
}

/// A guest that does not know the secret cannot choose ports that meet in one bucket.
std::size_t ConnectionPool::bucket(const Ports& ports) const {
    std::uint64_t hash = (std::uint64_t{ports.host} << 32 | ports.guest) ^ secret_;
    hash = (hash ^ hash >> 31) * 0x9e3779b97f4a7c15;
    hash = (hash ^ hash >> 29 ^ secret_) * 0xd1b54a32d192ed03;
    return (hash >> 32) % kBuckets;
}

void ConnectionPool::name(Connection& connection, const Ports& ports) {
    connection.ports = ports;
    connection.named = true;
    Connection*& first = by_ports_[bucket(ports)];
    connection.next = first;
    first = &connection;
}

void ConnectionPool::forget_name(Connection& connection) {
    if (!connection.named) return;
    connection.named = false;
    for (Connection** link = &by_ports_[bucket(connection.ports)]; *link != nullptr; link = &(*link)->next) {
        if (*link != &connection) continue;
        *link = connection.next;
        return;
    }
}

Connection* ConnectionPool::find(const Ports& ports) const {
    Connection* found = by_ports_[bucket(ports)];
    while (found != nullptr && found->ports != ports)
        found = found->next;
    return found;
}

}  // namespace hako::virtio::vsock
