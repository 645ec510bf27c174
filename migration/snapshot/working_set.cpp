#include "migration/snapshot/working_set.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "vmm/base/fd.h"
#include "vmm/base/read_all.h"
#include "vmm/state/sections.h"

namespace hako::migration {
namespace {

constexpr std::string_view kFile = "/working-set";
constexpr std::string_view kSection = "working-set";

Result<WorkingSet> decode(const std::string& bytes) {
    state::Reader reader = HAKO_TRY(state::Reader::parse(std::as_bytes(std::span(bytes))));
    WorkingSet set = HAKO_TRY(reader.take<WorkingSet>(kSection));
    HAKO_TRY(reader.finish());
    return set;
}

}  // namespace

std::uint64_t WorkingSet::pages() const {
    std::uint64_t sum = 0;
    for (const WorkingRun& run : runs)
        sum += run.pages;
    return sum;
}

std::optional<WorkingSet> read_working_set(const std::string& folder, const SnapshotId& id,
                                           std::uint64_t pages) {
    const Fd file(::open((folder + std::string(kFile)).c_str(), O_RDONLY | O_CLOEXEC));
    std::string bytes;
    if (!file.valid() || read_all(file.get(), state::kMaxPayload + 64 * KiB, bytes) != 0) return std::nullopt;
    Result<WorkingSet> set = decode(bytes);
    if (!set || set->id != id) return std::nullopt;
    for (const WorkingRun& run : set->runs)
        if (run.first > pages || run.pages > pages - run.first) return std::nullopt;
    return *std::move(set);
}

Result<> write_working_set(const std::string& folder, const WorkingSet& set) {
    state::Writer writer;
    writer.add(kSection, {}, set);
    const std::vector<std::byte> bytes = HAKO_TRY(std::move(writer).finish());
    const std::string path = folder + std::string(kFile);
    // Clones write at the same time, each a file of its own; any will do.
    const std::string partial = fmt::format("{}.{}", path, ::getpid());
    const Fd file(::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.valid()) return fail_errno(errno, "{}", partial);
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    const int error = written < 0 ? errno : ENOSPC;
    if (written == static_cast<ssize_t>(bytes.size()) && ::rename(partial.c_str(), path.c_str()) == 0)
        return {};
    ::unlink(partial.c_str());
    return fail_errno(error, "{}", path);
}

}  // namespace hako::migration
