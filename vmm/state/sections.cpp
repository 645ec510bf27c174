#include "vmm/state/sections.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "vmm/base/crc32c.h"
#include "vmm/base/log.h"

namespace hako::state {
namespace {

constexpr std::string_view kMagic = "HAKOSTAT";
constexpr std::string_view kEndName = "end";
constexpr std::uint16_t kFlagRequired = 1;
constexpr std::size_t kCheckedHeader = 12;  ///< the section header without its checksum

/// The last section.
struct End {
    std::uint32_t sections = 0;  ///< before this one
    std::uint64_t bytes = 0;     ///< before this one
};

std::uint64_t load(std::span<const std::byte> bytes, std::size_t offset, std::size_t width) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < width; ++i)
        value |= std::to_integer<std::uint64_t>(bytes[offset + i]) << (8 * i);
    return value;
}

std::uint32_t checksum(std::span<const std::byte> section) {
    return crc32c(section.subspan(kSectionHeaderBytes), crc32c(section.first(kCheckedHeader)));
}

std::string_view text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Result<> check_file_header(std::span<const std::byte> bytes) {
    if (bytes.size() < kFileHeaderBytes || text_of(bytes.first(kMagic.size())) != kMagic)
        return fail_input("this is no state that hako saved");
    const std::uint64_t format = load(bytes, kMagic.size(), 8);
    if (format != kFormat)
        return fail_input("the state is in format {}, this hako reads format {}: use a newer one", format,
                          kFormat);
    return {};
}

}  // namespace

template <>
struct Fields<End> {
    static constexpr auto list = std::tuple(field("sections", &End::sections), field("bytes", &End::bytes));
};

Result<SectionHeader> SectionHeader::parse(std::span<const std::byte, kSectionHeaderBytes> bytes) {
    const SectionHeader header{
        .version = static_cast<std::uint16_t>(load(bytes, 0, 2)),
        .need = (load(bytes, 2, 2) & kFlagRequired) != 0 ? Need::kRequired : Need::kOptional,
        .name_length = static_cast<std::uint16_t>(load(bytes, 4, 2)),
        .instance_length = static_cast<std::uint16_t>(load(bytes, 6, 2)),
        .payload_length = static_cast<std::uint32_t>(load(bytes, 8, 4)),
        .checksum = static_cast<std::uint32_t>(load(bytes, 12, 4)),
    };
    if (header.name_length == 0 || header.name_length > kMaxName || header.instance_length > kMaxInstance ||
        header.payload_length > kMaxPayload)
        return fail_input("a section's lengths are beyond all limits: the state is damaged");
    return header;
}

Result<Section> Section::parse(std::span<const std::byte> bytes) {
    if (bytes.size() < kSectionHeaderBytes) return fail_input("a section is cut short");
    const SectionHeader header = HAKO_TRY(SectionHeader::parse(bytes.first<kSectionHeaderBytes>()));
    if (bytes.size() - kSectionHeaderBytes != header.body_length())
        return fail_input("a section is cut short");
    if (checksum(bytes) != header.checksum)
        return fail_input("a section's checksum is wrong: the state is damaged");
    const auto body = bytes.subspan(kSectionHeaderBytes);
    return Section{
        .name = text_of(body.first(header.name_length)),
        .instance = text_of(body.subspan(header.name_length, header.instance_length)),
        .version = header.version,
        .need = header.need,
        .payload = body.last(header.payload_length),
    };
}

std::string Section::text() const {
    return instance.empty() ? fmt::format("section {}", name) : fmt::format("section {} {}", name, instance);
}

Writer::Writer() {
    Encoder header;
    header.bytes(std::as_bytes(std::span(kMagic)));
    header.number(kFormat, 8);
    data_ = *std::move(header).take();
}

void Writer::add_payload(std::string_view name, std::string_view instance, std::uint16_t version,
                         Result<std::vector<std::byte>> payload, Need need) {
    if (error_) return;
    const Section section{.name = name, .instance = instance};
    if (!payload) {
        error_ = std::move(payload).error().wrap(section.text());
        return;
    }
    if (name.size() > kMaxName || instance.size() > kMaxInstance || payload->size() > kMaxPayload ||
        sections_ >= kMaxSections) {
        error_ = Error(Fault::kHost, fmt::format("{} is beyond the limits of a state", section.text()));
        return;
    }
    Encoder out;
    out.number(version, 2);
    out.number(need == Need::kRequired ? kFlagRequired : 0, 2);
    out.number(name.size(), 2);
    out.number(instance.size(), 2);
    out.number(payload->size(), 4);
    out.number(0, 4);
    out.bytes(std::as_bytes(std::span(name)));
    out.bytes(std::as_bytes(std::span(instance)));
    out.bytes(*payload);
    std::vector<std::byte> bytes = *std::move(out).take();
    const std::uint32_t sum = checksum(bytes);
    for (std::size_t i = 0; i < 4; ++i)
        bytes[kCheckedHeader + i] = static_cast<std::byte>(sum >> (8 * i));
    data_.insert(data_.end(), bytes.begin(), bytes.end());
    ++sections_;
}

Result<std::vector<std::byte>> Writer::finish() && {
    const End end{.sections = sections_, .bytes = data_.size()};
    add(kEndName, {}, end);
    if (error_) return std::unexpected(*std::move(error_));
    return std::move(data_);
}

Result<Reader> Reader::parse(std::span<const std::byte> bytes) {
    if (bytes.size() > kMaxFile) return fail_input("the state has {} bytes: too many", bytes.size());
    HAKO_TRY(check_file_header(bytes));
    Reader reader;
    std::set<std::pair<std::string_view, std::string_view>> seen;
    for (std::size_t at = kFileHeaderBytes;;) {
        const auto rest = bytes.subspan(at);
        const auto cut = [&] {
            return fail_input("the state is cut short: it ends at byte {}", bytes.size());
        };
        if (rest.size() < kSectionHeaderBytes) return cut();
        const SectionHeader header =
            HAKO_TRY_WRAP(SectionHeader::parse(rest.first<kSectionHeaderBytes>()), "at byte {}", at);
        if (header.body_length() > rest.size() - kSectionHeaderBytes) return cut();
        const std::size_t length = kSectionHeaderBytes + header.body_length();
        const Section section = HAKO_TRY_WRAP(Section::parse(rest.first(length)), "at byte {}", at);

        if (section.name == kEndName) {
            const End end = HAKO_TRY_WRAP(decode<End>(section), "{}", section.text());
            if (end.sections != reader.sections_.size() || end.bytes != at)
                return fail_input("the state has {} sections in {} bytes, and {} in {} were saved",
                                  reader.sections_.size(), at, end.sections, end.bytes);
            if (length != rest.size())
                return fail_input("{} bytes follow the end of the state", rest.size() - length);
            break;
        }
        if (!seen.emplace(section.name, section.instance).second)
            return fail_input("{} comes twice", section.text());
        if (reader.sections_.size() == kMaxSections)
            return fail_input("the state has more than {} sections", kMaxSections);
        reader.sections_.push_back(section);
        at += length;
    }
    reader.taken_.resize(reader.sections_.size());
    return reader;
}

std::vector<std::string_view> Reader::instances(std::string_view name) const {
    std::vector<std::string_view> found;
    for (const Section& section : sections_)
        if (section.name == name) found.push_back(section.instance);
    return found;
}

Result<std::span<const std::byte>> Reader::take_payload(std::string_view name, std::string_view instance) {
    const Section* const section = take_section(name, instance);
    if (section == nullptr)
        return fail_input("the state has no {}", Section{.name = name, .instance = instance}.text());
    return section->payload;
}

const Section* Reader::take_section(std::string_view name, std::string_view instance) {
    for (std::size_t i = 0; i < sections_.size(); ++i) {
        if (sections_[i].name != name || sections_[i].instance != instance) continue;
        taken_[i] = true;
        return &sections_[i];
    }
    return nullptr;
}

Result<> Reader::check_version(const Section& section, std::uint16_t known) {
    if (section.version == 0 || section.version > known)
        return fail_input("its version is {}, this hako knows versions 1 to {}", section.version, known);
    return {};
}

Result<> Reader::finish() const {
    for (std::size_t i = 0; i < sections_.size(); ++i) {
        if (taken_[i]) continue;
        if (sections_[i].need == Need::kRequired)
            return fail_input("the state has a {} that this hako does not know, and must: use a newer one",
                              sections_[i].text());
        log_info("the state's {} is skipped: this hako does not know it", sections_[i].text());
    }
    return {};
}

}  // namespace hako::state
