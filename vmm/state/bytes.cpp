#include "vmm/state/bytes.h"

namespace hako::state {

std::string Place::text() const {
    if (outer == nullptr) return {};
    std::string text = outer->text();
    if (name.empty()) return text + fmt::format("[{}]", index);
    if (!text.empty()) text.push_back('.');
    return text.append(name);
}

std::unexpected<Error> refuse(const Place& place, std::string text) {
    const std::string where = place.text();
    if (where.empty()) return fail_input("{}", text);
    return fail_input("{}: {}", where, text);
}

void Encoder::number(std::uint64_t value, std::size_t width) {
    for (std::size_t i = 0; i < width; ++i)
        data_.push_back(static_cast<std::byte>(value >> (8 * i)));
}

void Encoder::bytes(std::span<const std::byte> data) {
    data_.insert(data_.end(), data.begin(), data.end());
}

void Encoder::count(std::size_t elements, std::uint32_t max) {
    if (elements > max && !error_)
        error_ =
            Error(Fault::kHost, fmt::format("{}: {} elements are more than the {} that a state has room for",
                                            name_, elements, max));
    number(elements, 4);
}

Result<std::vector<std::byte>> Encoder::take() && {
    if (error_) return std::unexpected(*std::move(error_));
    return std::move(data_);
}

Result<std::uint64_t> Decoder::number(std::size_t width, const Place& place) {
    const auto data = HAKO_TRY(bytes(width, place));
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < width; ++i)
        value |= std::to_integer<std::uint64_t>(data[i]) << (8 * i);
    return value;
}

Result<std::span<const std::byte>> Decoder::bytes(std::size_t size, const Place& place) {
    if (size > left_.size())
        return refuse(place, fmt::format("{} bytes are wanted, {} are left", size, left_.size()));
    const auto data = left_.first(size);
    left_ = left_.subspan(size);
    return data;
}

Result<std::uint32_t> Decoder::count(std::uint32_t max, const Place& place) {
    const auto count = static_cast<std::uint32_t>(HAKO_TRY(number(4, place)));
    if (count > max) return refuse(place, fmt::format("{} elements, at most {} are allowed", count, max));
    if (count > left_.size())
        return refuse(place, fmt::format("{} elements do not fit in the {} bytes left", count, left_.size()));
    return count;
}

Result<> Decoder::finish() const {
    if (!left_.empty()) return fail_input("{} bytes are left over", left_.size());
    return {};
}

}  // namespace hako::state
