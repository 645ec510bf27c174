#include "vmm/base/crc32c.h"

#include <doctest/doctest.h>

#include <array>
#include <string_view>
#include <vector>

using namespace hako;

namespace {

std::span<const std::byte> bytes(std::string_view text) {
    return std::as_bytes(std::span(text));
}

}  // namespace

TEST_CASE("checksums are those of RFC 3720") {
    CHECK(crc32c(bytes("123456789")) == 0xe3069283);
    CHECK(crc32c(std::array<std::byte, 32>{}) == 0x8a9136aa);
    std::array<std::byte, 32> ones{};
    ones.fill(std::byte{0xff});
    CHECK(crc32c(ones) == 0x62a8ab43);
    CHECK(crc32c({}) == 0);
}

TEST_CASE("with the CPU's instruction and without it is the same, in one piece or several") {
    std::vector<std::byte> data(100);
    for (std::size_t i = 0; i < data.size(); ++i)
        data[i] = static_cast<std::byte>(i * 37 + 5);
    const std::span<const std::byte> all = data;
    for (std::size_t size = 0; size <= data.size(); ++size) {
        CHECK(crc32c(all.first(size)) == crc32c_by_table(all.first(size)));
        CHECK(crc32c(all.subspan(size), crc32c(all.first(size))) == crc32c(all));
    }
}
