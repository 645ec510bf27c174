#include "migration/snapshot/snapshot.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>

#include "vmm/base/crc32c.h"
#include "vmm/base/sparse_array.h"

namespace hako::migration {
namespace {

/// Rounds of writing what was written meanwhile, before the guest is paused whatever is left.
constexpr std::uint32_t kMaxRounds = 8;
/// So little that another round would not make the pause shorter: it is copied in a few milliseconds.
constexpr std::uint64_t kEnough = 16 * MiB / kPageSize;
/// What the pause copies rather than writes, at most; beyond, the guest waits for the file.
constexpr std::uint64_t kMaxCopy = 512 * MiB / kPageSize;

/// Pages that were copied out of guest memory, and where they belong.
class Copies {
  public:
    explicit Copies(std::uint64_t pages) : memory_(pages * kPageSize) {}

    void add(std::span<const std::byte> pages, std::uint64_t file_offset) {
        std::ranges::copy(pages, memory_.get() + used_);
        runs_.push_back({.file_offset = file_offset, .at = used_, .length = pages.size()});
        used_ += pages.size();
    }
    Result<> write(MemoryWriter& writer) const {
        for (const Run& run : runs_)
            HAKO_TRY(writer.write(std::span(memory_.get() + run.at, run.length), run.file_offset));
        return {};
    }

  private:
    struct Run {
        std::uint64_t file_offset = 0;
        std::uint64_t at = 0;
        std::uint64_t length = 0;
    };

    SparseArray<std::byte> memory_;
    std::uint64_t used_ = 0;
    std::vector<Run> runs_;
};

/// Calls `visit(region, run)` for each run of set bits, none longer than a chunk of the writer.
template <typename Visit>
Result<> for_each_run(const MemoryLayout& layout, const PageBits& bits, Visit visit) {
    for (std::size_t region = 0; region < bits.size(); ++region) {
        RunScanner runs(bits[region], 0, layout.regions[region].pages(), MemoryWriter::kChunk / kPageSize);
        while (const auto run = runs.next())
            HAKO_TRY(visit(region, *run));
    }
    return {};
}

std::uint64_t nanoseconds_since(std::chrono::steady_clock::time_point begin) {
    return static_cast<std::uint64_t>((std::chrono::steady_clock::now() - begin).count());
}

}  // namespace

Result<SnapshotOutcome> Snapshot::run() {
    HAKO_TRY(folder_.check_empty());
    fetched_ = make_bits(machine_.memory().layout, false);
    written_ = fetched_;
    Result<SnapshotOutcome> outcome = write();
    settle_tracking(outcome.has_value());
    if (!outcome) {
        disks_.remove();
        folder_.remove();
    }
    return outcome;
}

Result<SnapshotOutcome> Snapshot::write() {
    const MemoryView& memory = machine_.memory();
    SnapshotOutcome outcome;
    SavedState state;
    state.facts.memory = memory.layout.pages() * kPageSize;
    state.facts.live = config_.live;
    state.id = id_;
    std::optional<PageChecksums> base = HAKO_TRY(base_checksums());
    const auto writer = HAKO_TRY(MemoryWriter::create(folder_.memory_path(), state.facts.memory,
                                                      std::move(base).value_or(PageChecksums())));
    HAKO_TRY(open_disks());
    if (config_.live) {
        HAKO_TRY(write_live(*writer, state, outcome));
    } else {
        HAKO_TRY(write_standing(*writer, state, outcome));
    }
    HAKO_TRY(writer->finish());
    HAKO_TRY(disks_.sync());
    outcome.bytes = writer->bytes_written();
    const PageChecksums& checksums = writer->checksums();
    state.facts.checksums = crc32c(std::as_bytes(std::span(checksums)));
    HAKO_TRY(folder_.write_config(config_.config));
    HAKO_TRY(folder_.write_checksums(checksums));
    if (config_.base) {
        const FileBits changed = written();
        state.base = Base{.id = changes_->base, .folder = *config_.base, .changed = checksum_of(changed)};
        HAKO_TRY(folder_.write_changed(changed));
    }
    HAKO_TRY(check_cancelled());
    HAKO_TRY(folder_.write_state(state));
    disks_.keep();
    return outcome;
}

/// Those of the snapshot that this one is based on, if it is: it must be the one since which writes are
/// logged.
Result<std::optional<PageChecksums>> Snapshot::base_checksums() const {
    if (!config_.base) return std::nullopt;
    const SnapshotFolder folder(*config_.base);
    const SavedState base = HAKO_TRY_WRAP(folder.read_state(), "the snapshot to base this one on");
    if (!changes_)
        return fail_input("writes since {} were not logged: take a snapshot with \"track\" first",
                          folder.path());
    if (base.id != changes_->base || base.facts.memory != machine_.memory().layout.pages() * kPageSize)
        return fail_input("{}: writes are logged since another snapshot: base it on that one", folder.path());
    return HAKO_TRY(folder.read_checksums(base.facts));
}

/// Pages that a snapshot has to have.
Result<PageBits> Snapshot::first_pages() {
    if (!config_.base) return machine_.touched();
    PageBits bits = changes_->pages;
    HAKO_TRY(fetch(bits));
    return bits;
}

Result<> Snapshot::fetch(PageBits& bits) {
    HAKO_TRY(machine_.fetch_dirty(bits));
    add_bits(fetched_, bits);
    return {};
}

/// Of a guest that stands still: the log begins anew.
Result<> Snapshot::begin_tracking() {
    if (!changes_) return machine_.start_dirty_tracking();
    PageBits bits = make_bits(machine_.memory().layout, false);
    HAKO_TRY(fetch(bits));
    return clear(bits);
}

Result<> Snapshot::clear(const PageBits& bits) {
    constexpr std::uint64_t kWords = MemoryWriter::kChunk / kPageSize / 64;
    for (std::size_t region = 0; region < bits.size(); ++region) {
        const std::uint64_t pages = machine_.memory().layout.regions[region].pages();
        for (std::size_t word = 0; word < bits[region].size(); word += kWords) {
            const auto words =
                std::span(bits[region])
                    .subspan(word, std::min<std::uint64_t>(kWords, bits[region].size() - word));
            if (std::ranges::all_of(words, [](std::uint64_t one) { return one == 0; })) continue;
            HAKO_TRY(machine_.clear_dirty(
                region, word * 64, std::min<std::uint64_t>(words.size() * 64, pages - word * 64), words));
        }
    }
    return {};
}

Result<> Snapshot::open_disks() {
    for (const DiskCopy& disk : config_.disks) {
        Fd image = HAKO_TRY(machine_.image(disk.id));
        HAKO_TRY(disks_.add(disk, std::move(image)));
    }
    return {};
}

Result<> Snapshot::copy_disks(std::chrono::steady_clock::time_point begin) {
    if (config_.disks.empty()) return {};
    return disks_.make(begin + std::chrono::milliseconds(config_.hold_ms),
                       [this] { return check_cancelled(); });
}

void Snapshot::settle_tracking(bool done) {
    if (done && config_.tracking == Tracking::kBegin) {
        changes_ = Changes{.base = id_, .pages = make_bits(machine_.memory().layout, false)};
    } else if (changes_ && !(done && config_.tracking == Tracking::kEnd)) {
        add_bits(changes_->pages, fetched_);
    } else {
        changes_.reset();
        machine_.stop_dirty_tracking();
    }
}

Result<> Snapshot::write_standing(MemoryWriter& writer, SavedState& state, SnapshotOutcome& outcome) {
    const auto begin = std::chrono::steady_clock::now();
    state.facts.taken = HAKO_TRY(machine_.pause());
    Result<> written = [&]() -> Result<> {
        state.vm = HAKO_TRY(machine_.save_state());
        HAKO_TRY(copy_disks(begin));
        const PageBits bits = HAKO_TRY(first_pages());
        HAKO_TRY(write_round(writer, bits, false));
        if (config_.tracking == Tracking::kBegin) return begin_tracking();
        return {};
    }();
    outcome.rounds = 1;
    HAKO_TRY(machine_.resume());
    outcome.pause_ns = nanoseconds_since(begin);
    return written;
}

Result<> Snapshot::write_live(MemoryWriter& writer, SavedState& state, SnapshotOutcome& outcome) {
    const MemoryLayout& layout = machine_.memory().layout;
    if (!changes_) HAKO_TRY(machine_.start_dirty_tracking());
    PageBits bits = HAKO_TRY(first_pages());
    for (std::uint64_t before = layout.pages();;) {
        HAKO_TRY(write_round(writer, bits, true));
        // Pages that are written again may not overtake themselves.
        HAKO_TRY(writer.drain());
        ++outcome.rounds;
        bits = make_bits(layout, false);
        HAKO_TRY(fetch(bits));
        const std::uint64_t left = count_bits(bits);
        if (left <= kEnough || outcome.rounds == kMaxRounds || left > before / 4 * 3) break;
        before = left;
    }

    const auto begin = std::chrono::steady_clock::now();
    std::optional<Copies> copies;
    state.facts.taken = HAKO_TRY(machine_.pause());
    Result<> saved = [&]() -> Result<> {
        // The state first: to take it may write into memory.
        state.vm = HAKO_TRY(machine_.save_state());
        HAKO_TRY(copy_disks(begin));
        HAKO_TRY(fetch(bits));
        if (config_.tracking == Tracking::kBegin) HAKO_TRY(clear(bits));
        const std::uint64_t left = count_bits(bits);
        if (left == 0) return {};
        if (left > kMaxCopy) return write_round(writer, bits, false);
        add_bits(written_, bits);
        copies.emplace(left);
        return for_each_run(layout, bits, [&](std::size_t region, const PageRun& run) -> Result<> {
            copies->add(machine_.memory().pages({region, run.first}, run.pages),
                        file_offset(region) + run.first * kPageSize);
            return {};
        });
    }();
    HAKO_TRY(machine_.resume());
    outcome.pause_ns = nanoseconds_since(begin);
    HAKO_TRY(std::move(saved));
    if (copies) return copies->write(writer);
    return {};
}

Result<> Snapshot::write_round(MemoryWriter& writer, const PageBits& bits, bool clear) {
    const MemoryView& memory = machine_.memory();
    constexpr std::uint64_t kPages = MemoryWriter::kChunk / kPageSize;
    static_assert(kPages % 64 == 0);
    add_bits(written_, bits);
    if (clear) add_bits(fetched_, bits);
    for (std::size_t region = 0; region < bits.size(); ++region) {
        const std::uint64_t pages = memory.layout.regions[region].pages();
        for (std::uint64_t first = 0; first < pages; first += kPages) {
            HAKO_TRY(check_cancelled());
            const std::uint64_t end = std::min(first + kPages, pages);
            RunScanner runs(bits[region], first, end, kPages);
            std::optional<PageRun> run = runs.next();
            if (!run) continue;
            if (clear)
                HAKO_TRY(machine_.clear_dirty(
                    region, first, end - first,
                    std::span(bits[region]).subspan(first / 64, (end - first + 63) / 64)));
            for (; run; run = runs.next())
                HAKO_TRY(writer.write(memory.pages({region, run->first}, run->pages),
                                      file_offset(region) + run->first * kPageSize));
        }
    }
    return {};
}

/// The regions' bits behind one another: a region is whole MiB, so no word has pages of two.
FileBits Snapshot::written() const {
    FileBits bits;
    for (const RegionBits& region : written_)
        bits.insert(bits.end(), region.begin(), region.end());
    return bits;
}

std::uint64_t Snapshot::file_offset(std::size_t region) const {
    std::uint64_t offset = 0;
    for (std::size_t before = 0; before < region; ++before)
        offset += machine_.memory().layout.regions[before].bytes;
    return offset;
}

Result<> Snapshot::check_cancelled() const {
    if (cancelled_) return fail_state("the snapshot was given up, since the VM ends or was asked to");
    return {};
}

}  // namespace hako::migration
