#include "devices/console/history.h"

#include <doctest/doctest.h>

#include <string>

using namespace hako;

namespace {

void append(console::History& history, std::string_view text) {
    history.append({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

std::string read(console::History& history, std::uint64_t position, std::size_t limit = 100) {
    std::array<iovec, 2> pieces{};
    const unsigned count = history.pieces(position, limit, pieces);
    std::string text;
    for (unsigned i = 0; i < count; ++i)
        text.append(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
    return text;
}

}  // namespace

TEST_CASE("a history keeps its newest bytes under their positions") {
    console::History history(8);
    CHECK(history.begin() == 0);
    CHECK(read(history, 0).empty());
    append(history, "hello");
    CHECK(history.begin() == 0);
    CHECK(read(history, 2) == "llo");
    append(history, " world");
    CHECK(history.end() == 11);
    CHECK(history.begin() == 3);
    CHECK(read(history, 3) == "lo world");
    CHECK(read(history, 3, 4) == "lo w");
    CHECK(read(history, 11).empty());
}

TEST_CASE("what is longer than the history leaves its end there") {
    console::History history(4);
    append(history, "ab");
    append(history, "0123456789");
    CHECK(history.end() == 12);
    CHECK(history.begin() == 8);
    CHECK(read(history, 8) == "6789");
    append(history, "x");
    CHECK(read(history, history.begin()) == "789x");
}
