#include "devices/console/escape.h"

#include <doctest/doctest.h>

#include <string>

using namespace hako;

namespace {

struct Typed {
    bool quit = false;
    std::string to_guest;
};

/// Each text arrives in a read of its own.
Typed type(std::initializer_list<std::string_view> texts) {
    console::Escape escape;
    Typed typed;
    std::vector<std::uint8_t> out;
    for (const std::string_view text : texts)
        if (escape.filter({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, out))
            typed.quit = true;
    typed.to_guest.assign(out.begin(), out.end());
    return typed;
}

}  // namespace

TEST_CASE("Ctrl-A x quits, even key by key") {
    CHECK(type({"ls\r\x01x"}).quit);
    CHECK(type({"ls\r\x01x"}).to_guest == "ls\r");
    CHECK(type({"\x01", "x"}).quit);
    CHECK(type({"\x01", "x"}).to_guest.empty());
    CHECK_FALSE(type({"x"}).quit);
}

TEST_CASE("other keys after Ctrl-A reach the guest") {
    CHECK(type({"\x01\x01x"}).to_guest == "\x01x");
    CHECK_FALSE(type({"\x01\x01x"}).quit);
    CHECK(type({"\x01", "ab"}).to_guest ==
          "\x01"
          "b");
    CHECK(type({"\x01q"}).to_guest == "\x01q");
}
