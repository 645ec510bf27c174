// Little-endian numbers and counted blobs, in and out of a payload.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hako::migration {

using Blob = std::vector<std::byte>;

/// Appends values to a payload.
class Writer {
  public:
    template <std::unsigned_integral T>
    void number(T value) {
        for (std::size_t byte = 0; byte < sizeof(T); ++byte)
            data_.push_back(static_cast<std::byte>(value >> (8 * byte)));
    }
    void raw(std::span<const std::byte> bytes) { data_.insert(data_.end(), bytes.begin(), bytes.end()); }
    /// A 32-bit count and the bytes.
    void blob(std::span<const std::byte> bytes) {
        number(static_cast<std::uint32_t>(bytes.size()));
        raw(bytes);
    }
    void text(const std::string& value) { blob(std::as_bytes(std::span(value))); }

    [[nodiscard]] const Blob& data() const { return data_; }

  private:
    Blob data_;
};

/// Takes values from bytes that anybody may have written. What is not there is 0 or empty, and done() says
/// so.
class Reader {
  public:
    explicit Reader(std::span<const std::byte> data) : left_(data) {}

    template <std::unsigned_integral T>
    T number() {
        T value = 0;
        const auto bytes = take(sizeof(T));
        for (std::size_t byte = 0; byte < bytes.size(); ++byte)
            value = static_cast<T>(value | static_cast<T>(static_cast<T>(bytes[byte]) << (8 * byte)));
        return value;
    }
    /// `count` bytes, or none.
    std::span<const std::byte> take(std::size_t count) {
        if (count > left_.size()) {
            good_ = false;
            return {};
        }
        const auto bytes = left_.first(count);
        left_ = left_.subspan(count);
        return bytes;
    }
    /// A counted blob of at most `max` bytes.
    std::span<const std::byte> blob(std::uint32_t max) {
        const auto count = number<std::uint32_t>();
        if (count > max) good_ = false;
        return good_ ? take(count) : std::span<const std::byte>();
    }
    Blob copy(std::uint32_t max) {
        const auto bytes = blob(max);
        return {bytes.begin(), bytes.end()};
    }
    std::string text(std::uint32_t max) {
        const auto bytes = blob(max);
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
    /// A number of elements of `size` bytes or more each: 0 when there are more than `max`, or than can
    /// follow.
    std::uint32_t count(std::uint32_t max, std::size_t size) {
        const auto elements = number<std::uint32_t>();
        if (elements > max || elements > left_.size() / size) good_ = false;
        return good_ ? elements : 0;
    }
    void refuse() { good_ = false; }

    /// Everything was there, and nothing is left.
    [[nodiscard]] bool done() const { return good_ && left_.empty(); }

  private:
    std::span<const std::byte> left_;
    bool good_ = true;
};

}  // namespace hako::migration
