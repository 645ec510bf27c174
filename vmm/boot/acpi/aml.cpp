#include "vmm/boot/acpi/aml.h"

#include <array>
#include <bit>
#include <limits>

namespace hako::acpi {

void append(Bytes& target, const Bytes& piece) {
    target.insert(target.end(), piece.begin(), piece.end());
}

void append(Bytes& target, std::uint64_t value, std::size_t width) {
    for (std::size_t i = 0; i < width; ++i)
        target.push_back(static_cast<std::byte>(value >> (8 * i)));
}

Bytes join(std::initializer_list<Bytes> pieces) {
    Bytes result;
    for (const Bytes& piece : pieces)
        append(result, piece);
    return result;
}

namespace aml {
namespace {

// Opcodes (ACPI 6.3, 20.3). Those of two bytes start with ExtOpPrefix.
enum Opcode : std::uint16_t {
    kZero = 0x00,
    kOne = 0x01,
    kName = 0x08,
    kByte = 0x0a,
    kWord = 0x0b,
    kDword = 0x0c,
    kString = 0x0d,
    kQword = 0x0e,
    kScope = 0x10,
    kBuffer = 0x11,
    kPackage = 0x12,
    kMethod = 0x14,
    kDualName = 0x2e,
    kMultiName = 0x2f,
    kLocal0 = 0x60,
    kArg0 = 0x68,
    kStore = 0x70,
    kAdd = 0x72,
    kSubtract = 0x74,
    kShiftLeft = 0x79,
    kAnd = 0x7b,
    kOr = 0x7d,
    kNotify = 0x86,
    kCreateDwordField = 0x8a,
    kCreateQwordField = 0x8f,
    kNot = 0x92,
    kEqual = 0x93,
    kIf = 0xa0,
    kElse = 0xa1,
    kReturn = 0xa4,
    kRegion = 0x5b80,
    kField = 0x5b81,
    kDevice = 0x5b82,
};

constexpr std::uint8_t kSystemIo = 1;
constexpr std::uint8_t kByteAccess = 1;
constexpr std::uint8_t kDwordAccess = 3;
constexpr std::size_t kSegmentLength = 4;

Bytes op(Opcode opcode) {
    Bytes result;
    if (opcode > 0xff) append(result, opcode >> 8, 1);
    append(result, opcode & 0xff, 1);
    return result;
}

Bytes number(std::uint64_t value, std::size_t width) {
    Bytes result;
    append(result, value, width);
    return result;
}

/// PkgLength (20.2.4) counts its own bytes too: one with 6 bits, or two to four with 4 bits in the first.
Bytes package_length(std::size_t content) {
    Bytes result;
    if (content + 1 < 64) {
        append(result, content + 1, 1);
        return result;
    }
    std::size_t following = 1;
    while (content + 1 + following >= std::size_t{1} << (4 + 8 * following))
        ++following;
    const std::size_t length = content + 1 + following;
    append(result, following << 6 | (length & 0xf), 1);
    append(result, length >> 4, following);
    return result;
}

Bytes packed(Opcode opcode, const Bytes& content) {
    return join({op(opcode), package_length(content.size()), content});
}

/// A target left out is a null name.
Bytes target_or_none(const Bytes& target) {
    return target.empty() ? Bytes{std::byte{0}} : target;
}

std::uint8_t hex_digit(char character) {
    if (character >= '0' && character <= '9') return static_cast<std::uint8_t>(character - '0');
    return static_cast<std::uint8_t>((character | 0x20) - 'a' + 10);
}

/// A name segment, filled up with underscores.
void append_segment(Bytes& target, std::string_view segment) {
    for (std::size_t i = 0; i < kSegmentLength; ++i)
        target.push_back(static_cast<std::byte>(i < segment.size() ? segment[i] : '_'));
}

}  // namespace

Bytes path(std::string_view name) {
    Bytes prefix;
    if (name.starts_with('\\')) {
        prefix.push_back(std::byte{'\\'});
        name.remove_prefix(1);
    }
    Bytes segments;
    std::size_t count = 0;
    while (!name.empty()) {
        const std::size_t dot = name.find('.');
        append_segment(segments, name.substr(0, dot));
        ++count;
        name.remove_prefix(dot == std::string_view::npos ? name.size() : dot + 1);
    }
    if (count == 0) prefix.push_back(std::byte{0});
    if (count == 2) append(prefix, op(kDualName));
    if (count > 2) append(prefix, join({op(kMultiName), number(count, 1)}));
    return join({prefix, segments});
}

Bytes integer(std::uint64_t value) {
    if (value == 0) return op(kZero);
    if (value == 1) return op(kOne);
    if (value <= std::numeric_limits<std::uint8_t>::max()) return join({op(kByte), number(value, 1)});
    if (value <= std::numeric_limits<std::uint16_t>::max()) return join({op(kWord), number(value, 2)});
    if (value <= std::numeric_limits<std::uint32_t>::max()) return join({op(kDword), number(value, 4)});
    return join({op(kQword), number(value, 8)});
}

Bytes string(std::string_view text) {
    Bytes result = op(kString);
    for (const char character : text)
        result.push_back(static_cast<std::byte>(character));
    result.push_back(std::byte{0});
    return result;
}

Bytes eisa_id(std::string_view id) {
    // Three letters of 5 bits and four hexadecimal digits, the most significant byte first (19.6.37).
    std::uint32_t value = 0;
    for (const char letter : id.substr(0, 3))
        value = value << 5 | static_cast<std::uint32_t>(letter - 'A' + 1);
    for (const char digit : id.substr(3))
        value = value << 4 | hex_digit(digit);
    return join({op(kDword), number(__builtin_bswap32(value), 4)});
}

Bytes buffer(const Bytes& data) {
    return packed(kBuffer, join({integer(data.size()), data}));
}

Bytes uuid(std::string_view text) {
    // The first three groups are stored as little-endian numbers, the other two in the order written
    // (19.6.142).
    static constexpr std::array<std::size_t, 16> kOrder = {3, 2, 1,  0,  5,  4,  7,  6,
                                                           8, 9, 10, 11, 12, 13, 14, 15};
    Bytes written;
    for (std::size_t i = 0; i + 1 < text.size();) {
        if (text[i] == '-') {
            ++i;
            continue;
        }
        written.push_back(static_cast<std::byte>(hex_digit(text[i]) << 4 | hex_digit(text[i + 1])));
        i += 2;
    }
    Bytes data;
    for (const std::size_t from : kOrder)
        data.push_back(written.at(from));
    return buffer(data);
}

Bytes package(const std::vector<Bytes>& elements) {
    Bytes content = number(elements.size(), 1);
    for (const Bytes& element : elements)
        append(content, element);
    return packed(kPackage, content);
}

Bytes name(std::string_view name, const Bytes& value) {
    return join({op(kName), path(name), value});
}
Bytes scope(std::string_view at, const Bytes& body) {
    return packed(kScope, join({path(at), body}));
}
Bytes device(std::string_view name, const Bytes& body) {
    return packed(kDevice, join({path(name), body}));
}

Bytes method(std::string_view name, unsigned arguments, bool serialized, const Bytes& body) {
    const std::uint64_t flags = arguments | (serialized ? 1u << 3 : 0u);
    return packed(kMethod, join({path(name), number(flags, 1), body}));
}

Bytes io_region(std::string_view name, std::uint16_t port, std::uint16_t length) {
    return join({op(kRegion), path(name), number(kSystemIo, 1), integer(port), integer(length)});
}

Bytes byte_field(std::string_view region, std::string_view name) {
    Bytes content = join({path(region), number(kByteAccess, 1)});
    append_segment(content, name);
    append(content,
           package_length(8 - 1));  // a field's length in bits is written like a PkgLength, less itself
    return packed(kField, content);
}

Bytes dword_fields(std::string_view region, std::span<const std::string> names) {
    constexpr std::uint64_t kBits = 32;
    Bytes content = join({path(region), number(kDwordAccess, 1)});
    for (const std::string_view name : names) {
        append_segment(content, name);
        append(content, package_length(kBits - 1));
    }
    return packed(kField, content);
}

Bytes local(unsigned number) {
    return op(static_cast<Opcode>(kLocal0 + number));
}
Bytes arg(unsigned number) {
    return op(static_cast<Opcode>(kArg0 + number));
}
Bytes store(const Bytes& value, const Bytes& target) {
    return join({op(kStore), value, target});
}
Bytes bit_and(const Bytes& a, const Bytes& b, const Bytes& target) {
    return join({op(kAnd), a, b, target_or_none(target)});
}
Bytes bit_or(const Bytes& a, const Bytes& b, const Bytes& target) {
    return join({op(kOr), a, b, target_or_none(target)});
}
Bytes add(const Bytes& a, const Bytes& b, const Bytes& target) {
    return join({op(kAdd), a, b, target_or_none(target)});
}
Bytes subtract(const Bytes& a, const Bytes& b, const Bytes& target) {
    return join({op(kSubtract), a, b, target_or_none(target)});
}
Bytes shift_left(const Bytes& value, const Bytes& bits, const Bytes& target) {
    return join({op(kShiftLeft), value, bits, target_or_none(target)});
}
Bytes equal(const Bytes& a, const Bytes& b) {
    return join({op(kEqual), a, b});
}
Bytes logical_not(const Bytes& value) {
    return join({op(kNot), value});
}
Bytes if_then(const Bytes& condition, const Bytes& body) {
    return packed(kIf, join({condition, body}));
}
Bytes otherwise(const Bytes& body) {
    return packed(kElse, body);
}
Bytes notify(std::string_view object, std::uint8_t value) {
    return join({op(kNotify), path(object), integer(value)});
}
Bytes give_back(const Bytes& value) {
    return join({op(kReturn), value});
}
Bytes dword_field(const Bytes& buffer, std::uint64_t offset, std::string_view name) {
    return join({op(kCreateDwordField), buffer, integer(offset), path(name)});
}
Bytes qword_field(const Bytes& buffer, std::uint64_t offset, std::string_view name) {
    return join({op(kCreateQwordField), buffer, integer(offset), path(name)});
}

}  // namespace aml
}  // namespace hako::acpi
