#include "migration/memory/userfault_trap.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <vector>

namespace hako::migration {
namespace {

/// Pages of one system call.
constexpr std::uint64_t kLookPages = 16 * 1024;

}  // namespace

Result<std::unique_ptr<PageTrap>> UserfaultTrap::create(const MemoryView& memory, bool huge,
                                                        std::shared_ptr<DiscardGate> gate) {
    Userfault faults = HAKO_TRY(Userfault::open());
    for (const std::span<std::byte> mapping : memory.mappings) {
        // A huge page is there as a whole, with pages in it that never came.
        if (::madvise(mapping.data(), mapping.size(), MADV_NOHUGEPAGE) != 0 && errno != EINVAL)
            return fail_errno(errno, "guest memory without huge pages");
        // To learn here, and not in the pause, that it works.
        HAKO_TRY(faults.watch(mapping));
        HAKO_TRY(faults.unwatch(mapping));
    }
    return std::unique_ptr<PageTrap>(new UserfaultTrap(memory, huge, std::move(faults), std::move(gate)));
}

UserfaultTrap::~UserfaultTrap() {
    if (gate_) gate_->open();
}

/// Watched before anything is removed: nobody fills a hole in between, as KVM may, which holds pages of the
/// guest (its clock's) by their address.
Result<> UserfaultTrap::arm(const PageBits& missing) {
    if (gate_) gate_->close();
    for (const std::span<std::byte> mapping : memory_.mappings)
        HAKO_TRY(faults_.watch(mapping));
    HAKO_TRY(take_away(missing));
    PageBits rest = missing;
    if (!gone_.empty()) remove_bits(rest, gone_);
    return check_gone(rest);
}

Result<> UserfaultTrap::remove(const PageBits& stale) {
    HAKO_TRY(take_away(stale));
    gone_ = stale;
    return check_gone(stale);
}

Result<> UserfaultTrap::take_away(const PageBits& pages) const {
    return for_each_run(pages, [](std::span<std::byte> host) -> Result<> {
        if (::madvise(host.data(), host.size(), MADV_REMOVE) == 0) return {};
        return fail_errno(errno, "cannot take old pages away");
    });
}

/// A page that stayed would be taken for what the guest wrote.
Result<> UserfaultTrap::check_gone(const PageBits& pages) const {
    std::vector<unsigned char> there;
    return for_each_run(pages, [&](std::span<std::byte> host) -> Result<> {
        there.resize(host.size() / kPageSize);
        if (::mincore(host.data(), host.size(), there.data()) != 0)
            return fail_errno(errno, "cannot tell which pages are there");
        if (std::ranges::none_of(there, [](unsigned char page) { return (page & 1) != 0; })) return {};
        return fail_host("this host does not take single pages away, which postcopy needs");
    });
}

template <typename Look>
Result<> UserfaultTrap::for_each_run(const PageBits& pages, Look look) const {
    for (std::size_t region = 0; region < pages.size(); ++region) {
        RunScanner scanner(pages[region], 0, memory_.layout.regions[region].pages(), kLookPages);
        while (const auto run = scanner.next())
            HAKO_TRY(look(memory_.pages({.region = region, .first = run->first}, run->pages)));
    }
    return {};
}

Result<> UserfaultTrap::disarm() {
    for (const std::span<std::byte> mapping : memory_.mappings) {
        HAKO_TRY(faults_.unwatch(mapping));
        // A hint, as it was one before.
        if (huge_) ::madvise(mapping.data(), mapping.size(), MADV_HUGEPAGE);
    }
    return {};
}

Result<std::optional<PagePlace>> UserfaultTrap::take() {
    const std::optional<std::byte*> page = HAKO_TRY(faults_.take());
    if (!page) return std::nullopt;
    for (std::size_t region = 0; region < memory_.mappings.size(); ++region) {
        const std::span<std::byte> mapping = memory_.mappings[region];
        if (*page < mapping.data() || *page >= mapping.data() + mapping.size()) continue;
        return PagePlace{.region = region,
                         .first = static_cast<std::uint64_t>(*page - mapping.data()) / kPageSize};
    }
    return fail_host("userfaultfd tells of a page outside the guest's memory");
}

Result<> UserfaultTrap::put(const PagePlace& place, std::span<const std::byte> content) {
    std::byte* to = memory_.pages(place, content.size() / kPageSize).data();
    while (!content.empty()) {
        const std::size_t done = HAKO_TRY(faults_.copy(to, content));
        const std::size_t step = std::max<std::size_t>(done, kPageSize);
        to += step;
        content = content.subspan(step);
    }
    return {};
}

Result<> UserfaultTrap::put_zeros(const PagePlace& place, std::uint64_t pages) {
    std::span<std::byte> host = memory_.pages(place, pages);
    while (!host.empty()) {
        const std::size_t done = HAKO_TRY(faults_.zero(host));
        host = host.subspan(std::max<std::size_t>(done, kPageSize));
    }
    return {};
}

void UserfaultTrap::wake(const PagePlace& page) {
    faults_.wake(memory_.pages(page, 1));
}

}  // namespace hako::migration
