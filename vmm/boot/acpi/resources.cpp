#include "vmm/boot/acpi/resources.h"

namespace hako::acpi::resources {
namespace {

// Tags: of small descriptors with their length (6.4.2), of large ones without (6.4.3).
constexpr std::uint8_t kIoTag = 0x47;
constexpr std::uint8_t kEndTag = 0x79;
constexpr std::uint8_t kMemory32FixedTag = 0x86;
constexpr std::uint8_t kDwordTag = 0x87;
constexpr std::uint8_t kWordTag = 0x88;
constexpr std::uint8_t kInterruptTag = 0x89;
constexpr std::uint8_t kQwordTag = 0x8a;

constexpr std::uint8_t kDecode16 = 1;
constexpr std::uint8_t kReadWrite = 1;
constexpr std::uint8_t kConsumer = 1 << 0;
constexpr std::uint8_t kEdge = 1 << 1;
// Address spaces (table 6-214 on): resource types, general flags, memory flags.
constexpr std::uint8_t kMemoryRange = 0;
constexpr std::uint8_t kBusRange = 2;
constexpr std::uint8_t kMinAndMaxFixed = 1 << 2 | 1 << 3;
constexpr std::uint8_t kUncachedReadWrite = 1;
constexpr std::uint8_t kCachedReadWrite = 1 << 1 | 1;

Bytes large(std::uint8_t tag, const Bytes& content) {
    Bytes result;
    append(result, tag, 1);
    append(result, content.size(), 2);
    append(result, content);
    return result;
}

/// Word, dword and qword address space descriptors differ in the width of their numbers only.
Bytes address_space(std::uint8_t tag, std::size_t width, std::uint8_t type, std::uint8_t type_flags,
                    std::uint64_t first, std::uint64_t last) {
    Bytes content;
    append(content, type, 1);
    append(content, kMinAndMaxFixed, 1);
    append(content, type_flags, 1);
    for (const std::uint64_t value : {std::uint64_t{0}, first, last, std::uint64_t{0}, last - first + 1})
        append(content, value, width);  // granularity, minimum, maximum, translation, length
    return large(tag, content);
}

}  // namespace

Bytes resource_template(std::initializer_list<Bytes> descriptors) {
    Bytes content = join(descriptors);
    append(content, kEndTag, 1);
    append(content, 0, 1);  // instead of a checksum: not to be checked (6.4.2.9)
    return aml::buffer(content);
}

Bytes io(std::uint16_t port, std::uint8_t length) {
    Bytes result;
    append(result, kIoTag, 1);
    append(result, kDecode16, 1);
    append(result, port, 2);  // lowest start
    append(result, port, 2);  // highest start
    append(result, 1, 1);     // alignment
    append(result, length, 1);
    return result;
}

Bytes memory32_fixed(std::uint32_t address, std::uint32_t length) {
    Bytes content;
    append(content, kReadWrite, 1);
    append(content, address, 4);
    append(content, length, 4);
    return large(kMemory32FixedTag, content);
}

Bytes edge_interrupt(std::uint32_t gsi) {
    Bytes content;
    append(content, kConsumer | kEdge, 1);
    append(content, 1, 1);  // one interrupt
    append(content, gsi, 4);
    return large(kInterruptTag, content);
}

Bytes bus_numbers(std::uint16_t first, std::uint16_t last) {
    return address_space(kWordTag, 2, kBusRange, 0, first, last);
}

Bytes memory_window32(std::uint32_t start, std::uint32_t size) {
    return address_space(kDwordTag, 4, kMemoryRange, kUncachedReadWrite, start,
                         std::uint64_t{start} + size - 1);
}

Bytes memory64(std::uint64_t start, std::uint64_t size) {
    return address_space(kQwordTag, 8, kMemoryRange, kCachedReadWrite, start, start + size - 1);
}

Bytes memory_window64(std::uint64_t start, std::uint64_t size) {
    return address_space(kQwordTag, 8, kMemoryRange, kUncachedReadWrite, start, start + size - 1);
}

}  // namespace hako::acpi::resources
