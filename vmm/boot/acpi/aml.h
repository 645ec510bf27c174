// ACPI Machine Language, written piece by piece. (ACPI 6.3, chapter 20)
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hako::acpi {

/// Encoded bytes: of an AML term, a resource descriptor or a table.
using Bytes = std::vector<std::byte>;

/// Puts pieces one after the other.
Bytes join(std::initializer_list<Bytes> pieces);
void append(Bytes& target, const Bytes& piece);
/// Little-endian.
void append(Bytes& target, std::uint64_t value, std::size_t width);

/// Each function gives the encoding of the ASL operator of its name; arguments named `Bytes` are encoded
/// terms. Names and paths are ASL's ("\\_SB.PCI0", "_HID"); their segments have one to four characters.
namespace aml {

Bytes path(std::string_view name);
Bytes integer(std::uint64_t value);
Bytes string(std::string_view text);
/// EISAID("PNP0A08").
Bytes eisa_id(std::string_view id);
Bytes buffer(const Bytes& data);
/// ToUUID("33db4d5b-1ff7-401c-9657-7441c03dd766") as a buffer.
Bytes uuid(std::string_view text);
Bytes package(const std::vector<Bytes>& elements);

Bytes name(std::string_view name, const Bytes& value);
Bytes scope(std::string_view path, const Bytes& body);
Bytes device(std::string_view name, const Bytes& body);
Bytes method(std::string_view name, unsigned arguments, bool serialized, const Bytes& body);

/// OperationRegion in system I/O space.
Bytes io_region(std::string_view name, std::uint16_t port, std::uint16_t length);
/// Field of byte access without lock, preserving unnamed bits; one byte wide, at the region's start.
Bytes byte_field(std::string_view region, std::string_view name);
/// Names for the first 32-bit registers of a region.
Bytes dword_fields(std::string_view region, std::span<const std::string> names);

Bytes local(unsigned number);  ///< Local0 to Local7
Bytes arg(unsigned number);    ///< Arg0 to Arg6
Bytes store(const Bytes& value, const Bytes& target);
Bytes bit_and(const Bytes& a, const Bytes& b, const Bytes& target = {});
Bytes bit_or(const Bytes& a, const Bytes& b, const Bytes& target = {});
Bytes add(const Bytes& a, const Bytes& b, const Bytes& target = {});
Bytes subtract(const Bytes& a, const Bytes& b, const Bytes& target = {});
Bytes shift_left(const Bytes& value, const Bytes& bits, const Bytes& target = {});
Bytes equal(const Bytes& a, const Bytes& b);
Bytes logical_not(const Bytes& value);
Bytes if_then(const Bytes& condition, const Bytes& body);
Bytes otherwise(const Bytes& body);  ///< Else, right behind if_then()
Bytes notify(std::string_view object, std::uint8_t value);
Bytes give_back(const Bytes& value);                                                  ///< Return
Bytes dword_field(const Bytes& buffer, std::uint64_t offset, std::string_view name);  ///< CreateDWordField

Bytes qword_field(const Bytes& buffer, std::uint64_t offset, std::string_view name);  ///< CreateQWordField

}  // namespace aml
}  // namespace hako::acpi
