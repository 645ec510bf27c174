// Any described struct with a value of its own in each field: what is lost or swapped on the way shows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "vmm/state/fields.h"

namespace hako::test {

/// Counts up over the fields; vectors and strings get two elements, optionals a value.
class Filler {
  public:
    /// Fields that came after `version` keep their defaults.
    explicit Filler(std::uint16_t version = 0xffff) : version_(version) {}

    template <state::Described T>
    void fill(T& value) {
        std::apply([&](const auto&... field) { (fill_field(field, value), ...); }, state::Fields<T>::list);
    }

  private:
    template <typename Field, typename T>
    void fill_field(const Field& field, T& value) {
        if (field.since <= version_) set(value.*field.member);
    }

    void set(bool& value) { value = ++next_ % 2 == 0; }
    template <state::Number T>
    void set(T& value) {
        value = static_cast<T>(++next_ * 0x0101010101010101);
    }
    template <state::Named T>
    void set(T& value) {
        value = state::Names<T>::list.back().value;
    }
    void set(std::string& value) { value = {"a\"", 2}; }
    template <state::Described T>
    void set(T& value) {
        fill(value);
    }
    template <typename T>
    void set(std::optional<T>& value) {
        set(value.emplace());
    }
    template <typename T>
    void set(std::vector<T>& value) {
        value.resize(2);
        for (T& element : value)
            set(element);
    }
    template <typename T, std::size_t kCount>
    void set(std::array<T, kCount>& value) {
        for (T& element : value)
            set(element);
    }
    template <typename T, std::size_t kCount>
    void set(T (&value)[kCount]) {
        for (T& element : value)
            set(element);
    }

    std::uint16_t version_;
    std::uint64_t next_ = 0;
};

template <state::Described T>
[[nodiscard]] T filled(std::uint16_t version = 0xffff) {
    T value{};
    Filler(version).fill(value);
    return value;
}

}  // namespace hako::test
