#include "vmm/boot/reset_vector.h"

#include <doctest/doctest.h>

#include "loading.h"
#include "vmm/boot/acpi/tables.h"
#include "vmm/memory/layout.h"

using namespace hako;
using namespace hako::testing;

TEST_CASE("the reset vector writes the reset value to the reset port, and fits below 1 MiB") {
    Loading loading;
    REQUIRE(boot::write_reset_vector(loading.memory()));
    const auto code = loading.memory().load<std::array<std::uint8_t, 16>>(GuestAddress{0xffff0}).value();
    CHECK(code[0] == 0xba);  // mov dx, imm16
    CHECK((code[1] | code[2] << 8) == layout::kPortReset);
    CHECK(code[3] == 0xb0);  // mov al, imm8
    CHECK(code[4] == acpi::kResetValue);
    CHECK(code[5] == 0xee);  // out dx, al
    CHECK(code[6] == 0xf4);  // hlt
    CHECK(code[7] == 0xeb);  // jmp rel8, back by itself and the hlt
    CHECK(static_cast<std::int8_t>(code[8]) == -3);
}
