// A state as a whole: named sections behind one another, each with its version, length and checksum.
//
// File: header, sections, and a last one, "end", that says how much there was. All numbers are little-endian.
//
//   header, 16 bytes    "HAKOSTAT", u64 format version
//   section             u16 version, u16 flags (bit 0: required), u16 length of the name, u16 length of the
//                       instance, u32 length of the payload, u32 CRC-32C of these 12 bytes, the name, the
//                       instance and the payload; then these three
//
// A section says how long it is, so the same bytes can come from a file or, one at a time, from a peer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/units.h"
#include "vmm/state/bytes.h"

namespace hako::state {

inline constexpr std::uint64_t kFormat = 1;
inline constexpr std::size_t kFileHeaderBytes = 16;
inline constexpr std::size_t kSectionHeaderBytes = 16;
inline constexpr std::size_t kMaxName = 32;
inline constexpr std::size_t kMaxInstance = 256;
inline constexpr std::size_t kMaxPayload = 16 * MiB;
inline constexpr std::size_t kMaxSections = 1024;
inline constexpr std::size_t kMaxFile = 64 * MiB;

/// What a reader that does not know a section does.
enum class Need : std::uint8_t {
    kRequired,  ///< refuses the state
    kOptional,  ///< skips the section
};

/// What stands in front of a section. From parse(): its lengths are within the limits.
struct SectionHeader {
    std::uint16_t version = 0;
    Need need = Need::kRequired;
    std::uint16_t name_length = 0;
    std::uint16_t instance_length = 0;
    std::uint32_t payload_length = 0;
    std::uint32_t checksum = 0;

    static Result<SectionHeader> parse(std::span<const std::byte, kSectionHeaderBytes> bytes);
    /// Bytes that follow the header.
    [[nodiscard]] std::size_t body_length() const {
        return std::size_t{name_length} + instance_length + payload_length;
    }
};

/// One section in somebody's buffer.
struct Section {
    std::string_view name;
    std::string_view instance;  ///< which of several, such as a device's id
    std::uint16_t version = 0;
    Need need = Need::kRequired;
    std::span<const std::byte> payload;

    /// `bytes`: header and body. Fails if the checksum is wrong.
    static Result<Section> parse(std::span<const std::byte> bytes);
    /// "section cpu 0"
    [[nodiscard]] std::string text() const;
};

/// Puts a state together.
class Writer {
  public:
    Writer();

    /// `name` and `instance` together are used once.
    template <Described T>
    void add(std::string_view name, std::string_view instance, const T& value, Need need = Need::kRequired) {
        add_payload(name, instance, Version<T>::value, to_bytes(value), need);
    }
    void add_payload(std::string_view name, std::string_view instance, std::uint16_t version,
                     Result<std::vector<std::byte>> payload, Need need);

    /// All of it, or why there is no such state.
    [[nodiscard]] Result<std::vector<std::byte>> finish() &&;

  private:
    std::vector<std::byte> data_;
    std::uint32_t sections_ = 0;
    std::optional<Error> error_;
};

/// A state taken apart; the bytes outlive it. Whoever wrote them is not trusted.
class Reader {
  public:
    /// Checks everything but the payloads' meaning: lengths, checksums, that nothing is missing at the end
    /// and nothing comes twice.
    static Result<Reader> parse(std::span<const std::byte> bytes);

    [[nodiscard]] std::span<const Section> sections() const { return sections_; }
    /// The instances of a section, in the order of the file.
    [[nodiscard]] std::vector<std::string_view> instances(std::string_view name) const;

    /// The section's value, or nothing if there is no such section. Takes it: see finish().
    template <Described T>
    Result<std::optional<T>> find(std::string_view name, std::string_view instance = {}) {
        const Section* const section = take_section(name, instance);
        if (section == nullptr) return std::nullopt;
        return HAKO_TRY_WRAP(decode<T>(*section), "{}", section->text());
    }
    /// The section's value; the section must be there.
    template <Described T>
    Result<T> take(std::string_view name, std::string_view instance = {}) {
        std::optional<T> value = HAKO_TRY(find<T>(name, instance));
        if (!value)
            return fail_input("the state has no {}", Section{.name = name, .instance = instance}.text());
        return *std::move(value);
    }
    /// The section's payload as it is; the section must be there.
    Result<std::span<const std::byte>> take_payload(std::string_view name, std::string_view instance);
    /// Nothing is left that a reader must know.
    [[nodiscard]] Result<> finish() const;

    template <Described T>
    static Result<T> decode(const Section& section) {
        HAKO_TRY(check_version(section, Version<T>::value));
        return from_bytes<T>(section.payload, section.version);
    }

  private:
    const Section* take_section(std::string_view name, std::string_view instance);
    static Result<> check_version(const Section& section, std::uint16_t known);

    std::vector<Section> sections_;
    std::vector<bool> taken_;
};

}  // namespace hako::state
