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
    Result<SnapshotOutcome> outcome = write();
    if (!outcome) folder_.remove();
    return outcome;
}

Result<SnapshotOutcome> Snapshot::write() {
    const MemoryView& memory = machine_.memory();
    SnapshotOutcome outcome;
    SavedState state;
    state.facts.memory = memory.layout.pages() * kPageSize;
    state.facts.live = config_.live;
    const auto writer = HAKO_TRY(MemoryWriter::create(folder_.memory_path(), state.facts.memory));
    if (config_.live) {
        HAKO_TRY(write_live(*writer, state, outcome));
    } else {
        HAKO_TRY(write_standing(*writer, state, outcome));
    }
    HAKO_TRY(writer->finish());
    outcome.bytes = writer->bytes_written();
    const PageChecksums& checksums = writer->checksums();
    state.facts.checksums = crc32c(std::as_bytes(std::span(checksums)));
    HAKO_TRY(folder_.write_config(config_.config));
    HAKO_TRY(folder_.write_checksums(checksums));
    HAKO_TRY(check_cancelled());
    HAKO_TRY(folder_.write_state(state));
    return outcome;
}

Result<> Snapshot::write_standing(MemoryWriter& writer, SavedState& state, SnapshotOutcome& outcome) {
    const auto begin = std::chrono::steady_clock::now();
    state.facts.taken = HAKO_TRY(machine_.pause());
    Result<> written = [&]() -> Result<> {
        state.vm = HAKO_TRY(machine_.save_state());
        return write_round(writer, HAKO_TRY(machine_.touched()), false);
    }();
    outcome.rounds = 1;
    HAKO_TRY(machine_.resume());
    outcome.pause_ns = nanoseconds_since(begin);
    return written;
}

Result<> Snapshot::write_live(MemoryWriter& writer, SavedState& state, SnapshotOutcome& outcome) {
    struct Tracking {
        SourceMachine& machine;
        ~Tracking() { machine.stop_dirty_tracking(); }
    };
    const MemoryLayout& layout = machine_.memory().layout;
    HAKO_TRY(machine_.start_dirty_tracking());
    const Tracking tracking{machine_};
    PageBits bits = HAKO_TRY(machine_.touched());
    for (std::uint64_t before = layout.pages();;) {
        HAKO_TRY(write_round(writer, bits, true));
        // Pages that are written again may not overtake themselves.
        HAKO_TRY(writer.drain());
        ++outcome.rounds;
        bits = make_bits(layout, false);
        HAKO_TRY(machine_.fetch_dirty(bits));
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
        HAKO_TRY(machine_.fetch_dirty(bits));
        const std::uint64_t left = count_bits(bits);
        if (left == 0) return {};
        if (left > kMaxCopy) return write_round(writer, bits, false);
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
