#include "migration/snapshot/memory_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>

#include "migration/memory/zero_page.h"
#include "vmm/base/crc32c.h"

namespace hako::migration {
namespace {

constexpr unsigned kBuffers = 16;
/// Zeros between data that are not worth a hole of their own.
constexpr std::uint64_t kSmallGap = 64 * KiB;
/// Runs of data in a chunk, at most, with gaps of kSmallGap between them.
constexpr unsigned kRuns = MemoryWriter::kChunk / (kSmallGap + kPageSize) + 1;
constexpr unsigned kWrites = kBuffers * kRuns;

}  // namespace

std::uint32_t zero_page_checksum() {
    return crc32c(std::array<std::byte, kPageSize>{});
}

Result<std::unique_ptr<MemoryWriter>> MemoryWriter::create(const std::string& path, std::uint64_t size,
                                                           PageChecksums base) {
    Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file.valid()) return fail_errno(errno, "cannot make {}", path);
    std::unique_ptr<MemoryWriter> writer(new MemoryWriter(path, std::move(file), size, std::move(base)));
    if (::ftruncate(writer->file_.get(), static_cast<off_t>(size)) != 0)
        return fail_errno(errno, "cannot size {} to {}", path, format_size(size));
    if (const int error = -io_uring_queue_init(kWrites, &writer->ring_, 0); error != 0)
        return fail_errno(error, "cannot set up an io_uring");
    writer->ring_up_ = true;
    return writer;
}

MemoryWriter::MemoryWriter(std::string path, Fd file, std::uint64_t size, PageChecksums base)
    : path_(std::move(path)),
      file_(std::move(file)),
      memory_(kBuffers * kChunk),
      buffers_(kBuffers),
      writes_(kWrites),
      free_writes_(kWrites),
      written_(size / kPageSize),
      checksums_(std::move(base)) {
    checksums_.resize(size / kPageSize, zero_checksum_);
    for (unsigned i = 0; i < kBuffers; ++i)
        buffers_[i].data = memory_.get() + i * kChunk;
    std::iota(free_writes_.begin(), free_writes_.end(), 0U);
}

MemoryWriter::~MemoryWriter() {
    if (!ring_up_) return;
    // The kernel still reads the buffers.
    [[maybe_unused]] const Result<> drained = drain();
    io_uring_queue_exit(&ring_);
}

Result<MemoryWriter::Buffer*> MemoryWriter::free_buffer() {
    for (;;) {
        const auto found = std::ranges::find(buffers_, 0U, &Buffer::writes);
        if (found != buffers_.end()) return &*found;
        HAKO_TRY(reap(true));
    }
}

Result<> MemoryWriter::write(std::span<const std::byte> pages, std::uint64_t file_offset) {
    Buffer& buffer = *HAKO_TRY(free_buffer());
    std::uint64_t begin = 0;  // of the run of data under way
    std::uint64_t end = 0;
    const auto flush = [&] {
        if (end > begin) submit(buffer, begin, end - begin, file_offset + begin);
        begin = end;
    };
    for (std::uint64_t at = 0; at < pages.size(); at += kPageSize) {
        std::byte* const copy = buffer.data + at;
        std::memcpy(copy, pages.data() + at, kPageSize);
        const std::uint64_t page = (file_offset + at) / kPageSize;
        if (!written_[page] && is_zero_page(copy)) {
            checksums_[page] = zero_checksum_;
            continue;
        }
        checksums_[page] = crc32c(std::span(copy, kPageSize));
        if (end == begin || at - end >= kSmallGap) {
            flush();
            begin = at;
        }
        end = at + kPageSize;
    }
    flush();
    if (io_uring_submit(&ring_) < 0) return fail_host("{}: cannot be written", path_);
    return reap(false);
}

void MemoryWriter::submit(Buffer& buffer, std::uint64_t from, std::uint64_t length, std::uint64_t offset) {
    const std::uint32_t slot = free_writes_.back();
    free_writes_.pop_back();
    writes_[slot] = {.offset = offset,
                     .length = static_cast<std::uint32_t>(length),
                     .buffer = &buffer,
                     .data = buffer.data + from};
    ++buffer.writes;
    bytes_written_ += length;
    for (std::uint64_t page = offset / kPageSize; page < (offset + length) / kPageSize; ++page)
        written_[page] = true;
    prepare(slot);
}

void MemoryWriter::prepare(std::uint32_t slot) {
    const Write& write = writes_[slot];
    io_uring_sqe* const entry = io_uring_get_sqe(&ring_);  // the ring has as many as there are slots
    io_uring_prep_write(entry, file_.get(), write.data, write.length, write.offset);
    io_uring_sqe_set_data64(entry, slot);
}

Result<> MemoryWriter::reap(bool wait) {
    if (wait) {
        const int waited = io_uring_submit_and_wait(&ring_, 1);
        if (waited < 0 && waited != -EINTR) return fail_errno(-waited, "{}: cannot be written", path_);
    }
    Result<> outcome;
    io_uring_cqe* entry = nullptr;
    while (io_uring_peek_cqe(&ring_, &entry) == 0) {
        const auto slot = static_cast<std::uint32_t>(io_uring_cqe_get_data64(entry));
        const int result = entry->res;
        io_uring_cqe_seen(&ring_, entry);
        Write& write = writes_[slot];
        const auto done = static_cast<std::uint32_t>(std::max(result, 0));
        write.data += done;
        write.offset += done;
        write.length -= std::min(done, write.length);
        if (write.length > 0 && (done > 0 || result == -EINTR || result == -EAGAIN)) {
            prepare(slot);
            continue;
        }
        if (write.length > 0)
            outcome = fail_errno(result == 0 ? ENOSPC : -result, "{}: cannot be written", path_);
        --write.buffer->writes;
        free_writes_.push_back(slot);
    }
    return outcome;
}

Result<> MemoryWriter::drain() {
    Result<> outcome;
    while (free_writes_.size() < writes_.size()) {
        Result<> reaped = reap(true);
        if (!reaped) outcome = std::move(reaped);
    }
    return outcome;
}

Result<> MemoryWriter::finish() {
    HAKO_TRY(drain());
    if (::fdatasync(file_.get()) != 0) return fail_errno(errno, "{}: cannot be written", path_);
    return {};
}

}  // namespace hako::migration
