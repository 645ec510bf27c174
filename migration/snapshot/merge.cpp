#include "migration/snapshot/merge.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "migration/snapshot/chain.h"
#include "migration/snapshot/memory_reader.h"
#include "vmm/base/copy_file.h"
#include "vmm/base/sparse_array.h"

namespace hako::migration {
namespace {

class Merge {
  public:
    Merge(const Chain& chain, const SnapshotFolder& out) : chain_(chain), out_(out), buffer_(kMaxPiece) {}

    Result<MergeOutcome> run() {
        const Layer& top = chain_.top();
        outcome_.memory = top.state.facts.memory;
        const std::string config = HAKO_TRY(top.folder.read_config());
        checksums_ = HAKO_TRY(top.folder.read_checksums(top.state.facts));
        const std::string path = out_.memory_path();
        const Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (!file.valid()) return fail_errno(errno, "cannot make {}", path);
        HAKO_TRY_WRAP(copy_base(file.get()), "{}", path);
        for (const Layer& layer : chain_.layers().subspan(1))
            HAKO_TRY_WRAP(add(layer, file.get()), "{}", path);
        if (::fdatasync(file.get()) != 0) return fail_errno(errno, "{}: cannot be written", path);
        HAKO_TRY(verify());
        SavedState state = top.state;
        state.base.reset();
        HAKO_TRY(out_.write_config(config));
        HAKO_TRY(out_.write_checksums(checksums_));
        HAKO_TRY(out_.write_state(state));
        return outcome_;
    }

  private:
    std::span<std::byte> buffer(std::uint64_t length) const { return {buffer_.get(), length}; }

    Result<> copy_base(int to) {
        const int from = chain_.layers().front().file.fd.get();
        outcome_.shared = share_blocks(from, to);
        if (outcome_.shared) return {};
        return copy_data(from, to, outcome_.memory, [] { return Result<>(); });
    }

    Result<> add(const Layer& layer, int to) {
        return for_each_extent(
            layer.file, layer.pages, 0, outcome_.memory,
            [&](std::uint64_t offset, std::uint64_t length) -> Result<> {
                HAKO_TRY(layer.file.read(buffer(length), offset));
                HAKO_TRY(PageCheck(layer.file, checksums_).data(buffer(length), offset));
                return write(to, buffer(length), offset);
            },
            [&](std::uint64_t offset, std::uint64_t length) { return clear(to, offset, length); });
    }

    Result<> write(int to, std::span<const std::byte> data, std::uint64_t offset) {
        outcome_.copied += data.size();
        return write_at(to, data, offset);
    }

    /// What the base had there has become zeros.
    Result<> clear(int to, std::uint64_t offset, std::uint64_t length) {
        if (::fallocate(to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                        static_cast<off_t>(length)) == 0)
            return {};
        if (errno != EOPNOTSUPP) return fail_errno(errno, "cannot be written");
        while (length > 0) {
            const std::uint64_t piece = std::min(length, kMaxPiece);
            std::ranges::fill(buffer(piece), std::byte{0});
            HAKO_TRY(write(to, buffer(piece), offset));
            offset += piece;
            length -= piece;
        }
        return {};
    }

    /// Of the file as it is now: what the base had is seen here for the first time.
    Result<> verify() const {
        const MemoryFile file = HAKO_TRY(MemoryFile::open(out_.memory_path(), outcome_.memory));
        const PageCheck check(file, checksums_);
        return for_each_extent(
            file, all_pages(outcome_.memory), 0, outcome_.memory,
            [&](std::uint64_t offset, std::uint64_t length) -> Result<> {
                HAKO_TRY(file.read(buffer(length), offset));
                return check.data(buffer(length), offset);
            },
            [&](std::uint64_t offset, std::uint64_t length) { return check.hole(offset, length); });
    }

    const Chain& chain_;
    const SnapshotFolder& out_;
    const SparseArray<std::byte> buffer_;
    PageChecksums checksums_;
    MergeOutcome outcome_;
};

}  // namespace

Result<MergeOutcome> merge_snapshots(std::span<const std::string> folders, const std::string& out) {
    if (folders.size() < 2) return fail_input("name a full snapshot and at least one that is based on it");
    const Chain chain = HAKO_TRY(Chain::of(folders));
    const bool made = ::mkdir(out.c_str(), 0700) == 0;
    if (!made && errno != EEXIST) return fail_input("{}: {}", out, errno_text(errno));
    const SnapshotFolder folder(out);
    HAKO_TRY(folder.check_empty());
    Result<MergeOutcome> outcome = Merge(chain, folder).run();
    if (!outcome) {
        folder.remove();
        if (made) ::rmdir(out.c_str());
    }
    return outcome;
}

}  // namespace hako::migration
