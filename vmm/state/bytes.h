// State as bytes: little-endian numbers of fixed width, nothing aligned, nothing implied.
//
// A bool is one byte, an enum its underlying number. A vector or string is a 32-bit count and the elements;
// an array is its elements, but of bytes: their count up to the last that is not 0, and these. An optional is
// a bool, and the value if it is true. A struct is its fields.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/state/fields.h"
#include "vmm/state/version.h"

namespace hako::state {

/// Appends values to a buffer.
class Encoder {
  public:
    /// The low `width` bytes (1 to 8) of `value`.
    void number(std::uint64_t value, std::size_t width);
    void bytes(std::span<const std::byte> data);
    /// How many elements follow; more than `max`, and the result is an error, since nobody would read it.
    void count(std::size_t elements, std::uint32_t max);
    /// The field that comes next, for the error.
    void at(std::string_view name) { name_ = name; }

    [[nodiscard]] std::size_t size() const { return data_.size(); }
    /// What was written, or the first error.
    [[nodiscard]] Result<std::vector<std::byte>> take() &&;

  private:
    std::vector<std::byte> data_;
    std::string_view name_;
    std::optional<Error> error_;
};

/// Takes values from bytes that anybody may have written: what it gives was there.
class Decoder {
  public:
    /// `version`: of what is read; fields that came later are not there.
    Decoder(std::span<const std::byte> data, std::uint16_t version) : left_(data), version_(version) {}

    [[nodiscard]] std::uint16_t version() const { return version_; }
    Result<std::uint64_t> number(std::size_t width, const Place& place);
    Result<std::span<const std::byte>> bytes(std::size_t size, const Place& place);
    /// A count of elements of a byte or more each: at most `max`, and no more than can follow.
    Result<std::uint32_t> count(std::uint32_t max, const Place& place);
    /// Nothing is left.
    Result<> finish() const;

  private:
    std::span<const std::byte> left_;
    std::uint16_t version_;
};

/// "state.field: what is wrong", a Fault::kInput.
[[nodiscard]] std::unexpected<Error> refuse(const Place& place, std::string text);

// Writing. `max`: what upto() says of the member that holds the value.

inline void write(Encoder& out, std::uint32_t, bool value) {
    out.number(value ? 1 : 0, 1);
}

template <Number T>
void write(Encoder& out, std::uint32_t, T value) {
    out.number(static_cast<std::uint64_t>(value), sizeof(T));
}

template <Named T>
void write(Encoder& out, std::uint32_t, T value) {
    out.number(static_cast<std::uint64_t>(value), sizeof(T));
}

inline void write(Encoder& out, std::uint32_t max, const std::string& value) {
    out.count(value.size(), max);
    out.bytes(std::as_bytes(std::span(value)));
}

template <Described T>
void write_struct(Encoder& out, const T& value);

template <Described T>
void write(Encoder& out, std::uint32_t, const T& value) {
    write_struct(out, value);
}

template <typename T>
void write(Encoder& out, std::uint32_t max, const std::optional<T>& value) {
    out.number(value ? 1 : 0, 1);
    if (value) write(out, max, *value);
}

template <typename T>
void write(Encoder& out, std::uint32_t max, const std::vector<T>& value) {
    out.count(value.size(), max);
    if constexpr (Byte<T>) {
        out.bytes(std::as_bytes(std::span(value)));
    } else {
        for (const T& element : value)
            write(out, max, element);
    }
}

template <typename T>
void write_array(Encoder& out, [[maybe_unused]] std::uint32_t max, std::span<const T> value) {
    if constexpr (Byte<T>) {
        while (!value.empty() && value.back() == 0)
            value = value.first(value.size() - 1);
        out.number(value.size(), 4);
        out.bytes(std::as_bytes(value));
    } else {
        for (const T& element : value)
            write(out, max, element);
    }
}

template <typename T, std::size_t kCount>
void write(Encoder& out, std::uint32_t max, const std::array<T, kCount>& value) {
    write_array(out, max, std::span<const T>(value));
}
template <typename T, std::size_t kCount>
void write(Encoder& out, std::uint32_t max, const T (&value)[kCount]) {
    write_array(out, max, std::span<const T>(value));
}

template <Described T>
void write_struct(Encoder& out, const T& value) {
    std::apply(
        [&](const auto&... field) {
            ((out.at(field.name), write(out, field.max, value.*field.member)), ...);
        },
        Fields<T>::list);
}

// Reading.

inline Result<> read(Decoder& in, const Place& place, std::uint32_t, bool& out) {
    const std::uint64_t number = HAKO_TRY(in.number(1, place));
    if (number > 1) return refuse(place, fmt::format("{} is neither true nor false", number));
    out = number == 1;
    return {};
}

template <Number T>
Result<> read(Decoder& in, const Place& place, std::uint32_t, T& out) {
    out = static_cast<T>(HAKO_TRY(in.number(sizeof(T), place)));
    return {};
}

template <Named T>
Result<> read(Decoder& in, const Place& place, std::uint32_t, T& out) {
    const std::uint64_t number = HAKO_TRY(in.number(sizeof(T), place));
    for (const auto& name : Names<T>::list) {
        if (static_cast<std::uint64_t>(name.value) != number) continue;
        out = name.value;
        return {};
    }
    return refuse(place, fmt::format("{} has no meaning", number));
}

inline Result<> read(Decoder& in, const Place& place, std::uint32_t max, std::string& out) {
    const std::uint32_t count = HAKO_TRY(in.count(max, place));
    const auto data = HAKO_TRY(in.bytes(count, place));
    out.assign(reinterpret_cast<const char*>(data.data()), data.size());
    return {};
}

template <Described T>
Result<> read_struct(Decoder& in, const Place& place, T& out);

template <Described T>
Result<> read(Decoder& in, const Place& place, std::uint32_t, T& out) {
    return read_struct(in, place, out);
}

template <typename T>
Result<> read(Decoder& in, const Place& place, std::uint32_t max, std::optional<T>& out) {
    bool present = false;
    HAKO_TRY(read(in, place, max, present));
    if (present) return read(in, place, max, out.emplace());
    out.reset();
    return {};
}

template <typename T>
void copy_bytes(std::span<const std::byte> data, T* to) {
    for (const std::byte byte : data)
        *to++ = static_cast<T>(byte);
}

template <typename T>
Result<> read(Decoder& in, const Place& place, std::uint32_t max, std::vector<T>& out) {
    const std::uint32_t count = HAKO_TRY(in.count(max, place));
    out.clear();
    if constexpr (Byte<T>) {
        const auto data = HAKO_TRY(in.bytes(count, place));
        out.resize(count);
        copy_bytes(data, out.data());
    } else {
        // One at a time: memory grows no faster than input is used up.
        for (std::size_t index = 0; index < count; ++index) {
            const Place at{.outer = &place, .name = {}, .index = index};
            HAKO_TRY(read(in, at, max, out.emplace_back()));
        }
    }
    return {};
}

template <typename T>
Result<> read_array(Decoder& in, const Place& place, [[maybe_unused]] std::uint32_t max, std::span<T> out) {
    if constexpr (Byte<T>) {
        const std::uint32_t count = HAKO_TRY(in.count(static_cast<std::uint32_t>(out.size()), place));
        const auto data = HAKO_TRY(in.bytes(count, place));
        copy_bytes(data, out.data());
        for (T& rest : out.subspan(count))
            rest = 0;
    } else {
        for (std::size_t index = 0; index < out.size(); ++index) {
            const Place at{.outer = &place, .name = {}, .index = index};
            HAKO_TRY(read(in, at, max, out[index]));
        }
    }
    return {};
}

template <typename T, std::size_t kCount>
Result<> read(Decoder& in, const Place& place, std::uint32_t max, std::array<T, kCount>& out) {
    return read_array(in, place, max, std::span<T>(out));
}
template <typename T, std::size_t kCount>
Result<> read(Decoder& in, const Place& place, std::uint32_t max, T (&out)[kCount]) {
    return read_array(in, place, max, std::span<T>(out));
}

template <Described T>
Result<> read_struct(Decoder& in, const Place& place, T& out) {
    Result<> result;
    const auto read_field = [&](const auto& field) -> Result<> {
        if (field.since > in.version()) return {};
        const Place at{.outer = &place, .name = field.name};
        return read(in, at, field.max, out.*field.member);
    };
    std::apply([&](const auto&... field) { (void)((result = read_field(field)).has_value() && ...); },
               Fields<T>::list);
    return result;
}

/// A struct's bytes.
template <Described T>
[[nodiscard]] Result<std::vector<std::byte>> to_bytes(const T& value) {
    Encoder out;
    write_struct(out, value);
    return std::move(out).take();
}

/// A struct from all of `data`, which was written in `version`.
template <Described T>
[[nodiscard]] Result<T> from_bytes(std::span<const std::byte> data,
                                   std::uint16_t version = Version<T>::value) {
    Decoder in(data, version);
    T value{};
    HAKO_TRY(read_struct(in, Place{}, value));
    HAKO_TRY(in.finish());
    return value;
}

}  // namespace hako::state
