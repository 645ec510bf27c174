#include <doctest/doctest.h>

#include "tests/unit/devices/serial_fixture.h"

using namespace hako;
using namespace hako::test::uart;
using test::SerialFixture;

TEST_CASE("bytes written go to the backend at once") {
    SerialFixture uart;
    CHECK(uart.in(kLsr) == 0x60);
    for (const char c : std::string_view("hako\r\n\x80"))
        uart.out(kData, static_cast<unsigned char>(c));
    CHECK(uart.sink.text == "hako\r\n\x80");
    CHECK(uart.in(kLsr) == 0x60);
}

TEST_CASE("the divisor latch hides behind DLAB and sends nothing") {
    SerialFixture uart;
    uart.out(kLcr, 0x83);
    uart.out(kData, 0x01);
    uart.out(kIer, 0x02);
    CHECK(uart.in(kData) == 0x01);
    CHECK(uart.in(kIer) == 0x02);
    uart.out(kLcr, 0x03);
    CHECK(uart.in(kIer) == 0);
    CHECK(uart.sink.text.empty());
    CHECK(uart.device.state().dlm == 0x02);
}

TEST_CASE("input waits in the FIFO, which takes 16 bytes and asks for more when it is empty") {
    SerialFixture uart;
    uart.out(kFcr, 0x01);
    CHECK(uart.receive("0123456789abcdefgh") == 16);
    CHECK(uart.receive("x") == 0);
    for (int i = 0; i < 15; ++i)
        (void)uart.in(kData);
    CHECK(uart.sink.wanted == 0);
    CHECK(uart.in(kLsr) == 0x61);
    CHECK(uart.in(kData) == 'f');
    CHECK(uart.sink.wanted == 1);
    CHECK(uart.in(kLsr) == 0x60);
    CHECK(uart.receive("gh") == 2);
    (void)uart.in(kData);
    (void)uart.in(kData);
    CHECK(uart.sink.wanted == 1);  // nothing had been refused
}

TEST_CASE("without FIFOs one byte waits, and clearing the FIFO makes room") {
    SerialFixture uart;
    CHECK(uart.receive("ab") == 1);
    CHECK(uart.in(kData) == 'a');
    CHECK(uart.sink.wanted == 1);

    uart.out(kFcr, 0x01);
    CHECK(uart.receive("0123456789abcdefgh") == 16);
    uart.out(kFcr, 0x03);
    CHECK(uart.in(kLsr) == 0x60);
    CHECK(uart.sink.wanted == 2);
    CHECK(uart.receive("a") == 1);
    uart.out(kFcr, 0x00);  // switching clears as well
    CHECK(uart.in(kLsr) == 0x60);
}

TEST_CASE("received data interrupts at the trigger level, and below it as a timeout") {
    SerialFixture uart;
    uart.set_up(0x01);
    CHECK(uart.in(kIir) == 0xc1);
    CHECK(uart.receive("abc") == 3);
    CHECK(uart.line.edges() == 1);
    CHECK(uart.in(kIir) == 0xcc);
    CHECK(uart.receive("defgh") == 5);
    CHECK(uart.line.edges() == 1);
    CHECK(uart.in(kIir) == 0xc4);
    for (int i = 0; i < 8; ++i)
        (void)uart.in(kData);
    CHECK(uart.in(kIir) == 0xc1);
    CHECK(uart.line.edges() == 0);
}

TEST_CASE("enabling the transmitter interrupt raises it, and reading IIR clears it") {
    SerialFixture uart;
    uart.set_up(0x00);
    uart.out(kIer, 0x02);
    CHECK(uart.line.edges() == 1);
    CHECK(uart.in(kIir) == 0xc2);
    CHECK(uart.in(kIir) == 0xc1);

    // A burst is one edge.
    for (int i = 0; i < 16; ++i)
        uart.out(kData, 'x');
    CHECK(uart.line.edges() == 1);
    CHECK(uart.in(kIir) == 0xc2);
    uart.out(kData, 'y');
    CHECK(uart.line.edges() == 1);

    uart.out(kIer, 0x00);
    CHECK(uart.in(kIir) == 0xc1);
    CHECK(uart.line.edges() == 0);
}

TEST_CASE("the most urgent interrupt is reported first") {
    SerialFixture uart;
    uart.set_up(0x0f);
    uart.out(kMcr, 0x1b);  // loopback: RTS and DTR keep CTS and DSR up, OUT2 keeps DCD
    for (int i = 0; i < 17; ++i)
        uart.out(kData, 'a' + static_cast<unsigned>(i));
    uart.out(kMcr, 0x19);  // RTS drops
    CHECK(uart.in(kIir) == 0xc6);
    CHECK(uart.in(kLsr) == 0x63);
    CHECK(uart.in(kIir) == 0xc4);
    for (int i = 0; i < 16; ++i)
        CHECK(uart.in(kData) == 'a' + i);
    CHECK(uart.in(kIir) == 0xc2);
    CHECK(uart.in(kIir) == 0xc0);
    CHECK(uart.in(kMsr) == 0xa1);
    CHECK(uart.in(kIir) == 0xc1);
    CHECK(uart.line.edges() == 0);  // loopback cuts the line
}

TEST_CASE("an overrun is told once, and the FIFO keeps its oldest bytes") {
    SerialFixture uart;
    uart.out(kFcr, 0x01);
    uart.out(kMcr, 0x10);
    for (unsigned i = 0; i < 20; ++i)
        uart.out(kData, i);
    CHECK(uart.in(kLsr) == 0x63);
    CHECK(uart.in(kLsr) == 0x61);
    for (unsigned i = 0; i < 16; ++i)
        CHECK(uart.in(kData) == i);
    CHECK(uart.in(kLsr) == 0x60);
    CHECK(uart.sink.text.empty());

    SerialFixture plain;
    plain.out(kMcr, 0x10);
    plain.out(kData, 1);
    plain.out(kData, 2);
    CHECK(plain.in(kLsr) == 0x63);
    CHECK(plain.in(kData) == 2);
}

TEST_CASE("the line is gated by OUT2, and opening the gate delivers what is pending") {
    SerialFixture uart;
    uart.out(kFcr, 0x01);
    uart.out(kIer, 0x01);
    CHECK(uart.receive("a") == 1);
    CHECK(uart.line.edges() == 0);
    uart.out(kMcr, 0x08);
    CHECK(uart.line.edges() == 1);
}

TEST_CASE("modem lines show a peer that is always there, and changes are told once") {
    SerialFixture uart;
    CHECK(uart.in(kMsr) == 0xb0);
    uart.out(kMcr, 0x10);
    CHECK(uart.in(kMsr) == 0x0b);  // all three dropped
    uart.out(kMcr, 0x14);          // RI rises: not reported
    CHECK(uart.in(kMsr) == 0x40);
    uart.out(kMcr, 0x10);
    CHECK(uart.in(kMsr) == 0x04);  // and falls
    CHECK(uart.in(kMsr) == 0x00);
}

TEST_CASE("while the backend has no room the guest is told to wait, and nothing is lost") {
    SerialFixture uart;
    uart.set_up(0x02);
    uart.sink.room = 2;
    for (const char c : std::string_view("0123456789abcdefgh"))
        uart.out(kData, static_cast<unsigned char>(c));
    CHECK(uart.sink.text == "01");
    CHECK(uart.in(kLsr) == 0x00);
    CHECK(uart.in(kIir) == 0xc1);
    uart.line.edges();

    uart.sink.room = 3;
    uart.device.writable();
    CHECK(uart.in(kLsr) == 0x00);
    CHECK(uart.line.edges() == 0);
    uart.sink.room = SIZE_MAX;
    uart.device.writable();
    CHECK(uart.sink.text == "0123456789abcdefgh");
    CHECK(uart.line.edges() == 1);
    CHECK(uart.in(kLsr) == 0x60);
}

TEST_CASE("a guest that does not wait loses the byte too many, not one before") {
    SerialFixture uart;
    uart.out(kFcr, 0x01);
    uart.sink.room = 0;
    for (const char c : std::string_view("0123456789abcdefgh"))
        uart.out(kData, static_cast<unsigned char>(c));
    uart.out(kFcr, 0x07);  // clearing the FIFOs does not lose what was sent
    uart.sink.room = SIZE_MAX;
    uart.device.writable();
    CHECK(uart.sink.text == "0123456789abcdef");
}

TEST_CASE("input waits until the guest ends a loopback test") {
    SerialFixture uart;
    uart.out(kMcr, 0x10);
    CHECK(uart.receive("a") == 0);
    uart.out(kMcr, 0x00);
    CHECK(uart.sink.wanted == 1);
    CHECK(uart.receive("a") == 1);
}

TEST_CASE("wide accesses go to one register after the other, and beyond the last nothing happens") {
    SerialFixture uart;
    std::array<std::byte, 2> data = {std::byte{0x1b}, std::byte{0x00}};
    uart.device.write(kLcr, data);
    CHECK(uart.in(kLcr) == 0x1b);
    uart.out(kScr, 0x5a);
    uart.device.read(kMsr, data);
    CHECK(load_le(data) == 0x5ab0);
    std::array<std::byte, 8> all{};
    uart.device.read(kScr, all);
    uart.device.write(kScr, all);
    CHECK(load_le(all) == 0xffffffffffffff5a);
}

TEST_CASE("a UART built from a state is the one that was saved") {
    SerialFixture before;
    before.set_up(0x0f);
    before.out(kLcr, 0x83);
    before.out(kData, 1);
    before.out(kLcr, 0x03);
    before.out(kScr, 0x77);
    before.sink.room = 1;
    before.out(kData, 'a');
    before.out(kData, 'b');
    before.out(kData, 'c');
    CHECK(before.receive("xyz") == 3);
    const serial::State saved = before.device.state();
    CHECK(saved.tx.size() == 2);

    SerialFixture after(saved);
    CHECK(after.device.state() == saved);
    CHECK(after.line.edges() == 0);
    after.device.writable();  // the backend starts
    CHECK(after.sink.text == "bc");
    CHECK(after.line.edges() == 1);
    CHECK(after.in(kIir) == 0xcc);
    CHECK(after.in(kData) == 'x');
}

TEST_CASE("a state that no UART can have is cut to one that it can") {
    serial::State wild;
    wild.ier = 0xff;
    wild.fcr = 0xff;
    wild.mcr = 0xff;
    wild.lsr_errors = 0xff;
    wild.msr_deltas = 0xff;
    wild.rx.assign(1000, 1);
    wild.tx.assign(1000, 2);
    SerialFixture uart(wild);
    const serial::State state = uart.device.state();
    CHECK(state.rx.size() == 16);
    CHECK(state.tx.size() == 16);
    CHECK(state.ier == 0x0f);
    CHECK(state.mcr == 0x1f);
    CHECK((uart.in(kLsr) & 0x9c) == 0);
}
