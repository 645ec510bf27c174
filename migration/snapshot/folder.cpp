#include "migration/snapshot/folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "vmm/base/crc32c.h"
#include "vmm/base/read_all.h"
#include "vmm/state/sections.h"

namespace hako::migration {
namespace {

constexpr std::string_view kConfig = "config.json";
constexpr std::string_view kState = "state.json";
constexpr std::string_view kChecksums = "page-checksums";
constexpr std::string_view kMemory = "memory-ranges";
constexpr std::string_view kChanged = "changed-pages";
constexpr std::string_view kFormat = "hako snapshot 1";
// Names of sections.
constexpr std::string_view kFacts = "snapshot";
constexpr std::string_view kIdentity = "identity";  ///< who does not know it does not need it
constexpr std::string_view kBase = "base";  ///< who does not know it must not take the part for the whole

constexpr std::uint64_t kMaxConfig = 4 * MiB;
/// Two hexadecimal digits a byte, and some words.
constexpr std::uint64_t kMaxState = 2 * state::kMaxFile + 64 * KiB;

std::string to_hex(std::span<const std::byte> bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const std::byte byte : bytes) {
        text += kDigits[std::to_integer<unsigned>(byte >> 4)];
        text += kDigits[std::to_integer<unsigned>(byte & std::byte{0xf})];
    }
    return text;
}

int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

Result<std::vector<std::byte>> from_hex(std::string_view text) {
    std::vector<std::byte> bytes;
    if (text.size() % 2 != 0) return fail_input("it is not made of pairs of hexadecimal digits");
    bytes.reserve(text.size() / 2);
    for (std::size_t at = 0; at < text.size(); at += 2) {
        const int high = digit(text[at]);
        const int low = digit(text[at + 1]);
        if (high < 0 || low < 0) return fail_input("it is not made of pairs of hexadecimal digits");
        bytes.push_back(static_cast<std::byte>(high * 16 + low));
    }
    return bytes;
}

Result<> write_all(int fd, std::span<const std::byte> content) {
    while (!content.empty()) {
        const ssize_t written = ::write(fd, content.data(), content.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return fail_errno(errno, "cannot be written");
        content = content.subspan(static_cast<std::size_t>(written));
    }
    if (::fdatasync(fd) != 0) return fail_errno(errno, "cannot be written");
    return {};
}

/// "bytes" of a member of state.json.
Result<std::vector<std::byte>> bytes_of(const boost::json::object& object, std::string_view name) {
    const boost::json::value* const value = object.if_contains(name);
    if (value == nullptr || !value->is_string()) return fail_input("it has no string \"{}\"", name);
    return HAKO_TRY_WRAP(from_hex(value->get_string()), "\"{}\"", name);
}

}  // namespace

Result<std::string> to_json(const SavedState& state) {
    state::Writer writer;
    writer.add(kFacts, {}, state.facts);
    if (state.id) writer.add(kIdentity, {}, Identity{*state.id}, state::Need::kOptional);
    if (state.base) writer.add(kBase, {}, *state.base);
    const std::vector<std::byte> facts = HAKO_TRY(std::move(writer).finish());
    return boost::json::serialize(
        boost::json::object{{"format", kFormat}, {"snapshot", to_hex(facts)}, {"vm", to_hex(state.vm)}});
}

Result<SavedState> saved_state_of(std::string_view json) {
    boost::system::error_code error;
    const boost::json::value document = boost::json::parse(json, error);
    if (error) return fail_input("it is no JSON: {}", error.message());
    const boost::json::object* const object = document.if_object();
    if (object == nullptr) return fail_input("it is no JSON object");
    const boost::json::value* const format = object->if_contains("format");
    if (format == nullptr || !format->is_string() || std::string_view(format->get_string()) != kFormat)
        return fail_input("its \"format\" is not \"{}\": it is not of hako, or of a later one", kFormat);
    const std::vector<std::byte> facts = HAKO_TRY(bytes_of(*object, "snapshot"));
    state::Reader reader = HAKO_TRY(state::Reader::parse(facts));
    SavedState state;
    state.facts = HAKO_TRY(reader.take<SnapshotFacts>(kFacts));
    if (const auto identity = HAKO_TRY(reader.find<Identity>(kIdentity))) state.id = identity->id;
    state.base = HAKO_TRY(reader.find<Base>(kBase));
    HAKO_TRY(reader.finish());
    state.vm = HAKO_TRY(bytes_of(*object, "vm"));
    return state;
}

Result<> SnapshotFolder::check_empty() const {
    struct stat status{};
    if (::stat(path_.c_str(), &status) != 0) return fail_input("{}: {}", path_, errno_text(errno));
    if (!S_ISDIR(status.st_mode)) return fail_input("{}: is not a folder", path_);
    for (const std::string_view name : {kConfig, kMemory, kChecksums, kChanged, kState}) {
        const std::string path = path_ + "/" + std::string(name);
        if (::access(path.c_str(), F_OK) == 0)
            return fail_input("{}: there is a snapshot, or a part of one: name an empty folder", path_);
    }
    return {};
}

Result<> SnapshotFolder::write_file(const std::string& name, std::span<const std::byte> content) const {
    // Under another name first: what has the right name is whole.
    const std::string path = path_ + "/" + name;
    const std::string partial = path + ".part";
    const Fd file(::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.valid()) return fail_errno(errno, "cannot make {}", partial);
    HAKO_TRY_WRAP(write_all(file.get(), content), "{}", partial);
    if (::rename(partial.c_str(), path.c_str()) != 0) return fail_errno(errno, "cannot make {}", path);
    const Fd folder(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid() || ::fsync(folder.get()) != 0)
        return fail_errno(errno, "{}: cannot be written", path_);
    return {};
}

Result<> SnapshotFolder::write_config(const std::string& json) const {
    return write_file(std::string(kConfig), std::as_bytes(std::span(json)));
}

Result<> SnapshotFolder::write_checksums(const PageChecksums& checksums) const {
    return write_file(std::string(kChecksums), std::as_bytes(std::span(checksums)));
}

Result<> SnapshotFolder::write_changed(const FileBits& changed) const {
    return write_file(std::string(kChanged), std::as_bytes(std::span(changed)));
}

Result<> SnapshotFolder::write_state(const SavedState& state) const {
    const std::string text = HAKO_TRY(to_json(state)) + "\n";
    return write_file(std::string(kState), std::as_bytes(std::span(text)));
}

void SnapshotFolder::remove() const {
    for (const std::string_view name : {kState, kChecksums, kChanged, kConfig, kMemory}) {
        const std::string path = path_ + "/" + std::string(name);
        ::unlink(path.c_str());
        ::unlink((path + ".part").c_str());
    }
}

Result<std::string> SnapshotFolder::read_file(const std::string& name, std::uint64_t max) const {
    const std::string path = path_ + "/" + name;
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) {
        if (errno == ENOENT && name == kState)
            return fail_input("{}: has no {}: there is no snapshot, or it was never finished", path_, name);
        return fail_input("{}: {}", path, errno_text(errno));
    }
    std::string content;
    const int error = read_all(file.get(), max, content);
    if (error == EFBIG) return fail_input("{}: is longer than {} bytes", path, max);
    if (error != 0) return fail_errno(error, "{}: cannot be read", path);
    return content;
}

Result<std::string> SnapshotFolder::read_config() const {
    return read_file(std::string(kConfig), kMaxConfig);
}

Result<SavedState> SnapshotFolder::read_state() const {
    const std::string text = HAKO_TRY(read_file(std::string(kState), kMaxState));
    return HAKO_TRY_WRAP(saved_state_of(text), "{}/{}", path_, kState);
}

/// `count` numbers as they were saved, which `checksum` tells.
template <typename Number>
Result<std::vector<Number>> SnapshotFolder::read_numbers(std::string_view name, std::uint64_t count,
                                                         std::uint32_t checksum) const {
    const std::uint64_t size = count * sizeof(Number);
    const std::string bytes = HAKO_TRY(read_file(std::string(name), size));
    if (bytes.size() != size || crc32c(std::as_bytes(std::span(bytes))) != checksum)
        return fail_input("{}/{}: it is not what was saved: its checksum is wrong", path_, name);
    std::vector<Number> numbers(count);
    std::memcpy(numbers.data(), bytes.data(), size);
    return numbers;
}

Result<PageChecksums> SnapshotFolder::read_checksums(const SnapshotFacts& facts) const {
    return read_numbers<std::uint32_t>(kChecksums, facts.memory / kPageSize, facts.checksums);
}

Result<FileBits> SnapshotFolder::read_changed(const SavedState& state) const {
    return read_numbers<std::uint64_t>(kChanged, (state.facts.memory / kPageSize + 63) / 64,
                                       state.base->changed);
}

std::uint32_t checksum_of(const FileBits& bits) {
    return crc32c(std::as_bytes(std::span(bits)));
}

}  // namespace hako::migration
