#include "devices/pci/function.h"

#include <utility>

#include "vmm/base/units.h"

namespace hako::pci {
namespace {

constexpr std::uint32_t kBarsEnd = reg::kBar0 + 4 * kBars;

bool overlaps(std::uint32_t offset, std::size_t length, std::uint32_t begin, std::uint32_t end) {
    return offset < end && offset + length > begin;
}

}  // namespace

void Function::Bar::read(std::uint64_t offset, std::span<std::byte> data) {
    const std::lock_guard lock(owner.mutex_);
    owner.read_bar(number, offset, data);
}

void Function::Bar::write(std::uint64_t offset, std::span<const std::byte> data) {
    const std::lock_guard lock(owner.mutex_);
    owner.write_bar(number, offset, data);
}

Function::Function(AddressSpace& space, std::string name, const Identity& identity,
                   std::optional<State> restored)
    : space_(space), name_(std::move(name)), config_(identity), restored_(std::move(restored)) {}

Function::~Function() {
    unmap_bars();
    for (const auto& bar : bars_)
        if (bar) space_.release(bar->home);
}

void Function::read_config(std::uint32_t offset, std::span<std::byte> data) {
    const std::lock_guard lock(mutex_);
    before_config_read(offset, data.size());
    config_.read(offset, data);
}

void Function::write_config(std::uint32_t offset, std::span<const std::byte> data) {
    const std::lock_guard lock(mutex_);
    config_.write(offset, data);
    if (overlaps(offset, data.size(), reg::kBar0, kBarsEnd) ||
        overlaps(offset, data.size(), reg::kCommand, reg::kCommand + 2))
        update_mappings();
    after_config_write(offset, data.size());
}

std::optional<std::uint64_t> Function::mapped_at(unsigned index) const {
    const std::lock_guard lock(mutex_);
    return index < kBars && bars_[index] ? bars_[index]->mapped : std::nullopt;
}

Result<> Function::add_bar(unsigned index, BarType type, std::uint64_t size) {
    HAKO_TRY_WRAP(config_.add_bar(index, type, size), "{}", name_);
    std::uint64_t home = 0;
    if (restored_) {
        home = restored_->bar_homes[index];
        HAKO_TRY_WRAP(space_.reserve(home, size), "{}: BAR {}", name_, index);
    } else {
        home = HAKO_TRY_WRAP(space_.allocate(type, size), "{}: BAR {}", name_, index);
    }
    bars_[index] = std::make_unique<Bar>(*this, index, size, home);
    config_.set_bar(index, home);
    return {};
}

Result<std::uint16_t> Function::add_capability(std::uint8_t id, std::span<const std::uint8_t> body,
                                               std::span<const std::uint8_t> writable) {
    return HAKO_TRY_WRAP(config_.add_capability(id, body, writable), "{}", name_);
}

Result<> Function::add_register(std::uint16_t offset, std::size_t size, std::uint32_t writable) {
    HAKO_TRY_WRAP(config_.add_register(offset, size, writable), "{}", name_);
    return {};
}

Result<> Function::finish_config() {
    const std::lock_guard lock(mutex_);
    if (restored_) HAKO_TRY_WRAP(config_.restore(restored_->config), "{}", name_);
    restored_.reset();
    update_mappings();
    return {};
}

void Function::unmap_bars() {
    const std::lock_guard lock(mutex_);
    for (const auto& bar : bars_) {
        if (!bar || !bar->mapped) continue;
        const std::uint64_t address = *std::exchange(bar->mapped, std::nullopt);
        bar_unmapped(bar->number, address);
        space_.mmio().remove(address);
    }
}

Function::State Function::function_state() const {
    State state{.config = config_.state(), .bar_homes = {}};
    for (unsigned i = 0; i < kBars; ++i)
        if (bars_[i]) state.bar_homes[i] = bars_[i]->home;
    return state;
}

void Function::update_mappings() {
    for (const auto& bar : bars_) {
        if (!bar) continue;
        std::optional<std::uint64_t> wanted;
        if (config_.memory_enabled()) wanted = config_.bar(bar->number);
        if (wanted == bar->mapped) continue;

        if (bar->mapped) {
            const std::uint64_t address = *std::exchange(bar->mapped, std::nullopt);
            bar_unmapped(bar->number, address);
            space_.mmio().remove(address);
        }
        if (!wanted) continue;
        if (!space_.decodes(*wanted, bar->size)) {
            log_limit_.warn("{}: the guest put BAR {} at {:#x}, outside the PCI windows: left unmapped",
                            name_, bar->number, *wanted);
            continue;
        }
        const auto done =
            space_.mmio().insert(*wanted, bar->size, *bar, fmt::format("{} BAR {}", name_, bar->number));
        if (!done) {
            log_limit_.warn("{}: left unmapped", done.error().text());
            continue;
        }
        bar->mapped = wanted;
        bar_mapped(bar->number, *wanted);
    }
}

}  // namespace hako::pci
