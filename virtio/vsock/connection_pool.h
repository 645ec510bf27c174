// All connections of a device: made once, found by their ports.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "virtio/vsock/connection.h"
#include "vmm/base/sparse_array.h"

namespace hako::virtio::vsock {

inline constexpr std::size_t kMaxConnections = 1024;

/// A line in which each connection stands once at most; one that is released meanwhile stays, and whoever
/// takes it out sees that it has nothing to say. Allocates nothing.
template <bool Connection::* Stands>
class Line {
  public:
    Line() : ring_(kMaxConnections) {}
    void push(Connection& connection) {
        if (connection.*Stands) return;
        connection.*Stands = true;
        ring_[(first_ + count_++) % kMaxConnections] = &connection;
    }
    [[nodiscard]] Connection* front() const { return count_ == 0 ? nullptr : ring_[first_]; }
    void pop() {
        ring_[first_]->*Stands = false;
        first_ = (first_ + 1) % kMaxConnections;
        --count_;
    }

  private:
    std::vector<Connection*> ring_;
    std::size_t first_ = 0;
    std::size_t count_ = 0;
};

/// io thread only, but for the constructor.
class ConnectionPool {
  public:
    /// All of it outlives the pool.
    ConnectionPool(io::Engine& engine, ConnectionOwner& owner);

    /// One that is free, or null: all are in use.
    [[nodiscard]] Connection* take();
    /// Nothing of it is in the kernel.
    void release(Connection& connection);
    /// From now on packets with these ports find it.
    void name(Connection& connection, const Ports& ports);
    void forget_name(Connection& connection);
    [[nodiscard]] Connection* find(const Ports& ports) const;
    [[nodiscard]] std::size_t used() const { return used_; }

    template <typename Visit>
    void for_each(Visit visit) {
        for (Connection& connection : all_)
            if (connection.stage != Connection::Stage::kFree) visit(connection);
    }

  private:
    static constexpr std::size_t kBuckets = 2 * kMaxConnections;
    /// Those whose memory stays when nobody is connected.
    static constexpr std::size_t kKept = 4;

    [[nodiscard]] std::size_t bucket(const Ports& ports) const;

    SparseArray<std::byte> in_;
    SparseArray<std::byte> out_;
    std::deque<Connection> all_;
    std::array<Connection*, kBuckets> by_ports_{};
    Connection* free_ = nullptr;
    std::size_t used_ = 0;
    std::size_t most_used_ = 0;  ///< since the last time that none was
    const std::uint64_t secret_;
};

}  // namespace hako::virtio::vsock
