#include "devices/pci/msix.h"

#include <utility>

#include "vmm/bus/bus.h"

namespace hako::pci {
namespace {

constexpr std::uint32_t kEntryMasked = 1;
constexpr std::size_t kWordBits = 64;

/// A message that interrupts a CPU: KVM takes bits 40 and up of the address as the upper part of an x2APIC
/// destination and refuses its whole routing table for a bit between 32 and 39.
bool interrupts_cpu(const MsiMessage& message) {
    return (message.address & 0xff'fff0'0000) == 0xfee0'0000;
}

bool valid_access(std::uint64_t offset, std::size_t length, std::size_t table) {
    return (length == 4 || length == 8) && offset % length == 0 && offset < table && length <= table - offset;
}

}  // namespace

Msix::Msix(std::vector<MsiVector> vectors, std::vector<Entry> entries)
    : vectors_(std::move(vectors)), entries_(std::move(entries)), log_limit_(std::make_unique<LogLimit>()) {}

Result<Msix> Msix::create(InterruptController& controller, std::uint16_t count, const State* restored) {
    if (count == 0 || count > kMaxVectors) return fail_host("MSI-X with {} vectors", count);
    std::vector<Entry> entries(count);
    const std::size_t words = (count + kWordBits - 1) / kWordBits;
    if (restored != nullptr) {
        if (restored->entries.size() != count || restored->pending.size() != words)
            return fail_input("{} MSI-X vectors were saved, the device has {}", restored->entries.size(),
                              count);
        entries = restored->entries;
        for (Entry& entry : entries)
            entry.control &= kEntryMasked;
    }
    std::vector<MsiVector> vectors;
    vectors.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        vectors.push_back(HAKO_TRY(MsiVector::create(controller)));
        if (restored != nullptr && (restored->pending[i / kWordBits] >> (i % kWordBits) & 1) != 0)
            vectors.back().event().signal();
    }
    return Msix(std::move(vectors), std::move(entries));
}

std::array<std::uint8_t, 10> Msix::capability_body(unsigned bar, std::uint32_t table,
                                                   std::uint32_t pending) const {
    std::array<std::uint8_t, 10> body{};
    const auto bytes = std::as_writable_bytes(std::span(body));
    store_le(bytes.subspan(0, 2), vectors_.size() - 1);
    store_le(bytes.subspan(2, 4), table | bar);
    store_le(bytes.subspan(6, 4), pending | bar);
    return body;
}

std::array<std::uint8_t, 10> Msix::capability_writable() {
    return {0, (kControlEnable | kControlMask) >> 8};
}

void Msix::set_control(std::uint16_t control, bool bus_master) {
    const bool live = (control & (kControlEnable | kControlMask)) == kControlEnable && bus_master;
    if (live == std::exchange(live_, live)) return;
    for (std::size_t i = 0; i < vectors_.size(); ++i)
        apply(i);
}

void Msix::apply(std::size_t vector) {
    const Entry& entry = entries_[vector];
    const MsiMessage message{.address = entry.address, .data = entry.data};
    bool masked = !live_ || (entry.control & kEntryMasked) != 0;
    if (!masked && !interrupts_cpu(message)) {
        log_limit_->warn("MSI-X vector {}: address {:#x} is no interrupt address: held back", vector,
                         message.address);
        masked = true;
    }
    if (const auto done = vectors_[vector].configure(message, masked); !done)
        log_limit_->warn("MSI-X vector {}: {}", vector, done.error().text());
}

void Msix::read_table(std::uint64_t offset, std::span<std::byte> data) const {
    store_le(data, 0);
    if (!valid_access(offset, data.size(), entries_.size() * kEntrySize)) return;
    const Entry& entry = entries_[offset / kEntrySize];
    const std::uint64_t half =
        offset % kEntrySize < 8 ? entry.address : entry.data | std::uint64_t{entry.control} << 32;
    store_le(data, half >> (8 * (offset % 8)));
}

void Msix::write_table(std::uint64_t offset, std::span<const std::byte> data) {
    if (!valid_access(offset, data.size(), entries_.size() * kEntrySize)) return;
    const std::size_t vector = offset / kEntrySize;
    Entry& entry = entries_[vector];
    const Entry old = entry;
    const bool first_half = offset % kEntrySize < 8;
    std::uint64_t half = first_half ? entry.address : entry.data | std::uint64_t{entry.control} << 32;
    if (data.size() == 8) {
        half = load_le(data);
    } else {
        const unsigned shift = 8 * static_cast<unsigned>(offset % 8);
        half = (half & ~(std::uint64_t{0xffffffff} << shift)) | load_le(data) << shift;
    }
    if (first_half) {
        entry.address = half & ~std::uint64_t{3};
    } else {
        entry.data = static_cast<std::uint32_t>(half);
        entry.control = static_cast<std::uint32_t>(half >> 32) & kEntryMasked;
    }
    if (entry != old) apply(vector);
}

std::uint64_t Msix::pending_word(std::size_t word) const {
    std::uint64_t bits = 0;
    for (std::size_t i = word * kWordBits; i < vectors_.size() && i < (word + 1) * kWordBits; ++i)
        if (vectors_[i].pending()) bits |= std::uint64_t{1} << (i % kWordBits);
    return bits;
}

void Msix::read_pending(std::uint64_t offset, std::span<std::byte> data) const {
    store_le(data, 0);
    const std::size_t words = (vectors_.size() + kWordBits - 1) / kWordBits;
    if (!valid_access(offset, data.size(), words * 8)) return;
    store_le(data, pending_word(offset / 8) >> (8 * (offset % 8)));
}

void Msix::drop_pending() {
    for (const MsiVector& vector : vectors_)
        if (vector.pending()) vector.event().take();
}

Msix::State Msix::state() const {
    State state{.entries = entries_, .pending = {}};
    for (std::size_t word = 0; word < (vectors_.size() + kWordBits - 1) / kWordBits; ++word)
        state.pending.push_back(pending_word(word));
    return state;
}

}  // namespace hako::pci
