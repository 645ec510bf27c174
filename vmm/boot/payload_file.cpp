#include "vmm/boot/payload_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

namespace hako::boot {
namespace {

std::unexpected<Error> cannot_open(const std::string& name, int error) {
    const char* hint = error == EACCES ? "make it readable for the user hako runs as" : "check the path";
    return std::unexpected(
        Error(Fault::kInput, hint).wrap(errno_text(error)).wrap(fmt::format("cannot open {}", name)));
}

}  // namespace

Result<PayloadFile> PayloadFile::open(std::string path, std::string role) {
    std::string name = role + " " + path;
    if (path.empty()) return fail_input("no {} given: name a file", role);
    if (path.find('\0') != std::string::npos) return fail_input("the {}'s path has a NUL byte in it", role);
    // O_NONBLOCK: opening a FIFO must not wait for a writer; it is refused below.
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd.valid()) return cannot_open(name, errno);
    struct stat status{};
    if (::fstat(fd.get(), &status) != 0) return cannot_open(name, errno);
    if (S_ISDIR(status.st_mode)) return fail_input("{} is a directory: name a file in it", name);
    if (!S_ISREG(status.st_mode)) return fail_input("{} is not a regular file: copy it to one", name);
    if (status.st_size <= 0) return fail_input("{} is empty: name another file", name);
    return PayloadFile(std::move(fd), std::move(name), static_cast<std::uint64_t>(status.st_size));
}

Result<> PayloadFile::read(std::uint64_t offset, std::span<std::byte> data) const {
    if (offset > size_ || data.size() > size_ - offset)
        return fail_input(
            "{} is truncated: {} bytes at offset {} lie beyond its end at {}; get a complete file", name_,
            data.size(), offset, size_);
    while (!data.empty()) {
        const ssize_t count = ::pread(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset));
        if (count < 0) {
            if (errno == EINTR) continue;
            return std::unexpected(
                Error(Fault::kInput, errno_text(errno)).wrap(fmt::format("cannot read {}", name_)));
        }
        if (count == 0)
            return fail_input("{} shrank while it was read: try again when it is complete", name_);
        offset += static_cast<std::uint64_t>(count);
        data = data.subspan(static_cast<std::size_t>(count));
    }
    return {};
}

Result<> PayloadFile::load(GuestMemory& memory, GuestAddress address, std::uint64_t offset,
                           std::uint64_t length) const {
    const auto target = memory.writable(address, length);
    if (!target)
        return fail_input(
            "{}: {} bytes at guest address {:#x} lie outside RAM: give the guest more (--memory)", name_,
            length, address.value);
    return read(offset, *target);
}

}  // namespace hako::boot
