#include "migration/epoch_record.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "migration/protocol/bytes.h"
#include "vmm/base/crc32c.h"
#include "vmm/base/fd.h"

namespace hako::migration {
namespace {

/// One sector: written whole or not at all.
constexpr std::size_t kBytes = 512;
constexpr std::size_t kCrcOffset = kBytes - 4;
constexpr std::uint64_t kFileMagic = 0x48434f50452d4f4b;  // "KO-EPOCH"
constexpr std::uint16_t kFileVersion = 1;

using Sector = std::array<std::byte, kBytes>;

std::uint32_t stored_crc(const Sector& sector) {
    return Reader(std::span(sector).subspan(kCrcOffset)).number<std::uint32_t>();
}

Sector to_sector(const EpochRecord& record) {
    Writer out;
    out.number(kFileMagic);
    out.number(kFileVersion);
    out.number(record.epoch);
    out.raw(record.vm);
    out.number(static_cast<std::uint8_t>(record.withdrawn ? 1 : 0));
    out.text(record.who.substr(0, kMaxName));
    Sector sector{};
    std::ranges::copy(out.data(), sector.begin());
    Writer crc;
    crc.number(crc32c(std::span(sector).first<kCrcOffset>()));
    std::ranges::copy(crc.data(), sector.begin() + kCrcOffset);
    return sector;
}

Result<EpochRecord> from_sector(const Sector& sector, const std::string& path) {
    Reader in(sector);
    if (in.number<std::uint64_t>() != kFileMagic || in.number<std::uint16_t>() != kFileVersion)
        return fail_input("{} is no epoch record of this version", path);
    if (stored_crc(sector) != crc32c(std::span(sector).first<kCrcOffset>()))
        return fail_input("{} is damaged: its checksum is wrong", path);
    EpochRecord record;
    record.epoch = in.number<std::uint64_t>();
    std::ranges::copy(in.take(record.vm.size()), record.vm.begin());
    record.withdrawn = in.number<std::uint8_t>() != 0;
    record.who = in.text(kMaxName);
    return record;
}

/// A name that is to last must be in its directory on the storage too.
Result<> sync_directory_of(const std::string& path) {
    std::filesystem::path directory = std::filesystem::path(path).parent_path();
    if (directory.empty()) directory = ".";
    const Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid() || ::fsync(fd.get()) != 0) return fail_errno(errno, "{}: cannot be made to last", path);
    return {};
}

}  // namespace

std::string epoch_record_path(const std::string& image) {
    return image + ".hako-epoch";
}

Result<std::optional<EpochRecord>> read_epoch_record(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd.valid()) {
        if (errno == ENOENT) return std::nullopt;
        return fail_errno(errno, "cannot open the epoch record {}", path);
    }
    Sector sector{};
    const ssize_t got = ::pread(fd.get(), sector.data(), sector.size(), 0);
    if (got < 0) return fail_errno(errno, "cannot read the epoch record {}", path);
    if (static_cast<std::size_t>(got) != sector.size())
        return fail_input("{} is damaged: it has {} bytes, not {}", path, got, sector.size());
    return HAKO_TRY(from_sector(sector, path));
}

Result<> write_epoch_record(const std::string& path, const EpochRecord& record) {
    bool made = false;
    Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd.valid() && errno == ENOENT) {
        fd = Fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0660));
        made = true;
    }
    if (!fd.valid()) return fail_errno(errno, "cannot open the epoch record {} for writing", path);
    const Sector sector = to_sector(record);
    const ssize_t put = ::pwrite(fd.get(), sector.data(), sector.size(), 0);
    if (put < 0) return fail_errno(errno, "cannot write the epoch record {}", path);
    if (static_cast<std::size_t>(put) != sector.size())
        return fail_host("cannot write the epoch record {}: the file system is full", path);
    if (::fdatasync(fd.get()) != 0)
        return fail_errno(errno, "the epoch record {} cannot be made to last", path);
    if (made) HAKO_TRY(sync_directory_of(path));
    return {};
}

Result<> may_start(const std::optional<EpochRecord>& found, const Uuid& vm, std::uint64_t epoch) {
    if (!found) return {};
    if (found->vm != vm) return fail_state("the epoch record is of another VM, written by {}", found->who);
    if (found->epoch >= epoch)
        return fail_state("epoch {} is over: {} has begun epoch {}", epoch, found->who, found->epoch);
    return {};
}

Result<Reclaim> decide_reclaim(const std::optional<EpochRecord>& found, const Uuid& vm, std::uint64_t epoch) {
    if (!found) return Reclaim::kResume;
    if (found->vm != vm) return fail_state("the epoch record is of another VM, written by {}", found->who);
    if (found->epoch < epoch || (found->epoch == epoch && found->withdrawn)) return Reclaim::kResume;
    return Reclaim::kLost;
}

}  // namespace hako::migration
