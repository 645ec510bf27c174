#include "tools/hako/bench_fs_jobs.h"

#include <fmt/core.h>

#include <array>

namespace hako::bench {
namespace {

constexpr std::array<FsJob, 7> kJobs = {{
    {.name = "fs-read-1m-4", .file = {"", "read", "1m", 4}},
    {.name = "fs-write-1m-4", .file = {"", "write", "1m", 4}},
    {.name = "fs-randread-4k-1", .file = {"", "randread", "4k", 1}},
    {.name = "fs-randread-4k-8", .file = {"", "randread", "4k", 8}},
    {.name = "fs-create", .engine = "filecreate"},
    {.name = "fs-stat", .engine = "filestat", .made_before = true},
    {.name = "fs-delete", .engine = "filedelete", .made_before = true},
}};

constexpr std::string_view kName = "hako";

}  // namespace

std::span<const FsJob> fs_jobs() {
    return kJobs;
}

std::string small_file(std::uint32_t number) {
    return fmt::format("{}.0.{}", kName, number);
}

std::vector<std::string> fs_words(const FsJob& job, const std::string& place, std::uint32_t seconds,
                                  std::uint32_t files) {
    if (job.engine.empty()) return fio_words(job.file, fmt::format("{}/{}", place, kLargeFile), seconds);
    return {"fio",
            fmt::format("--name={}", kName),
            "--minimal",
            "--thread",
            fmt::format("--directory={}/{}", place, kSmallFiles),
            fmt::format("--ioengine={}", job.engine),
            fmt::format("--nrfiles={}", files),
            fmt::format("--filesize={}", kSmallFile),
            "--fallocate=none",
            "--openfiles=1"};
}

}  // namespace hako::bench
