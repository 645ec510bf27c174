#include "vmm/machine/dirty_tracker.h"

#include <algorithm>

#include "vmm/base/log.h"

namespace hako {
namespace {

/// What is protected at once.
constexpr std::uint64_t kPiece = 64 * MiB;

DirtyLogMode best_mode(const kvm::Vm& vm, DirtyLogMode at_most) {
    if (vm.has_dirty_rings()) return DirtyLogMode::kRing;
    at_most = std::min(at_most, DirtyLogMode::kInitiallySet);
    const int offered = vm.extension(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
    if ((offered & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) == 0) return DirtyLogMode::kClassic;
    if ((offered & KVM_DIRTY_LOG_INITIALLY_SET) == 0) return std::min(at_most, DirtyLogMode::kManual);
    return at_most;
}

std::uint64_t flags_of(DirtyLogMode mode) {
    switch (mode) {
        case DirtyLogMode::kClassic:
        case DirtyLogMode::kRing:
            return 0;
        case DirtyLogMode::kManual:
            return KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
        case DirtyLogMode::kInitiallySet:
            return KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET;
    }
    return 0;
}

}  // namespace

DirtyTracker::DirtyTracker(kvm::Vm& vm, GuestMemory& memory, DirtyLogMode at_most)
    : vm_(vm), memory_(memory), mode_(best_mode(vm, at_most)) {}

DirtyTracker::~DirtyTracker() {
    stop();
}

Result<> DirtyTracker::set_logging(bool on) {
    const auto regions = memory_.regions();
    for (std::uint32_t slot = 0; slot < regions.size(); ++slot)
        HAKO_TRY(vm_.set_memory_slot(slot, regions[slot].base.value, regions[slot].host, regions[slot].size,
                                     on ? KVM_MEM_LOG_DIRTY_PAGES : 0));
    return {};
}

Result<> DirtyTracker::start() {
    stop();
    // The capability holds for the VM until it is set again; it counts when a slot's log begins.
    if (vm_.extension(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) != 0)
        HAKO_TRY(vm_.enable_capability(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, flags_of(mode_)));
    HAKO_TRY(make_room());  // what was written before
    memory_.start_dirty_tracking();
    active_ = true;
    Result<> logging = set_logging(true);
    if (logging && mode_ == DirtyLogMode::kInitiallySet) logging = clear_all();
    if (logging && foreign_ != nullptr) logging = foreign_->start_logging();
    if (!logging) stop();
    log_info("KVM's dirty log: {}", text(mode_));
    return logging;
}

/// In pieces, since KVM keeps the guest's faults waiting as long as one takes.
Result<> DirtyTracker::clear_all() {
    const std::vector<std::uint64_t> all(kPiece / kPageSize / 64, ~std::uint64_t{0});
    const auto regions = memory_.regions();
    for (std::size_t region = 0; region < regions.size(); ++region) {
        for (std::uint64_t at = 0; at < regions[region].size; at += kPiece)
            HAKO_TRY(
                clear(region, at / kPageSize, std::min(kPiece, regions[region].size - at) / kPageSize, all));
    }
    return {};
}

void DirtyTracker::stop() {
    if (!active_) return;
    active_ = false;
    if (foreign_ != nullptr) foreign_->stop_logging();
    if (const auto logging = set_logging(false); !logging) log_error("{}", logging.error().text());
    memory_.stop_dirty_tracking();
}

Result<> DirtyTracker::make_room() {
    if (mode_ != DirtyLogMode::kRing) return {};
    return vm_.take_dirty_rings([this](std::uint32_t slot, std::uint64_t page) {
        if (DirtyBitmap* const own = memory_.dirty_bitmap(slot)) own->mark(page * kPageSize, kPageSize);
    });
}

Result<> DirtyTracker::collect(std::span<std::vector<std::uint64_t>> bits) {
    if (foreign_ != nullptr) foreign_->collect();
    HAKO_TRY(make_room());
    const auto regions = memory_.regions();
    for (std::uint32_t slot = 0; slot < regions.size(); ++slot) {
        DirtyBitmap& own = *memory_.dirty_bitmap(slot);
        // KVM writes the whole bitmap, without regard to what was there.
        log_.assign(own.words(), 0);
        if (mode_ != DirtyLogMode::kRing) HAKO_TRY(vm_.dirty_log(slot, log_));
        for (std::size_t word = 0; word < log_.size(); ++word)
            log_[word] |= own.take(word);
        // Looked at last: what is written into a block that is plugged from now on has a bit of its own.
        if (const PluggedBlocks* const blocks = memory_.blocks();
            blocks != nullptr && slot + 1 == regions.size())
            blocks->drop_unplugged(log_);
        for (std::size_t word = 0; word < bits[slot].size(); ++word)
            bits[slot][word] |= log_[word];
    }
    return {};
}

Result<> DirtyTracker::clear(std::size_t region, std::uint64_t first, std::uint64_t pages,
                             std::span<const std::uint64_t> words) {
    if (mode_ == DirtyLogMode::kClassic || mode_ == DirtyLogMode::kRing) return {};
    return vm_.clear_dirty_log(static_cast<std::uint32_t>(region), first, pages, words);
}

}  // namespace hako
