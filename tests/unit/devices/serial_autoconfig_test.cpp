// What an operating system does to tell which UART it has before it, in the order of a PC's driver.
#include <doctest/doctest.h>

#include "tests/unit/devices/serial_fixture.h"

using namespace hako;
using namespace hako::test::uart;
using test::SerialFixture;

TEST_CASE("a driver's probe finds a 16550A with 16-byte FIFOs") {
    SerialFixture uart;

    // Is there a UART? IER has four bits.
    uart.out(kIer, 0x00);
    CHECK((uart.in(kIer) & 0x0f) == 0x00);
    uart.out(kIer, 0x0f);
    CHECK(uart.in(kIer) == 0x0f);
    uart.out(kIer, 0xff);
    CHECK(uart.in(kIer) == 0x0f);
    uart.out(kIer, 0x00);

    // Loopback connects RTS to CTS and OUT2 to DCD.
    uart.out(kMcr, 0x1a);
    CHECK((uart.in(kMsr) & 0xf0) == 0x90);
    uart.out(kMcr, 0x00);

    // An 8250 has no scratch register, a 16450 has.
    for (const unsigned value : {0xa5U, 0x5aU}) {
        uart.out(kScr, value);
        CHECK(uart.in(kScr) == value);
    }

    // FIFOs: both top bits of IIR, with FIFOs that work.
    uart.out(kFcr, 0x00);
    CHECK((uart.in(kIir) >> 6) == 0);
    uart.out(kFcr, 0x01);
    CHECK((uart.in(kIir) >> 6) == 3);

    // No enhanced feature register: with DLAB or LCR 0xbf, offset 2 is still IIR.
    uart.out(kLcr, 0x80);
    CHECK(uart.in(kIir) != 0);
    uart.out(kLcr, 0xbf);
    CHECK(uart.in(kIir) != 0);
    // No bank switch that shows MCR at offset 2.
    uart.out(kLcr, 0x00);
    const unsigned mcr = uart.in(kMcr);
    uart.out(kMcr, mcr ^ 0x10U);
    uart.out(kLcr, 0xe0);
    CHECK((uart.in(kIir) & 0x10) == 0);
    uart.out(kLcr, 0x00);
    uart.out(kMcr, mcr);

    // No 64-byte FIFO, with DLAB or without.
    for (const unsigned lcr : {0x00U, 0x80U}) {
        uart.out(kLcr, lcr);
        uart.out(kFcr, 0x21);
        CHECK((uart.in(kIir) >> 5) == 6);
        uart.out(kFcr, 0x01);
    }
    uart.out(kLcr, 0x00);

    // How many bytes does the FIFO hold?
    uart.out(kFcr, 0x07);
    uart.out(kMcr, 0x10);
    uart.out(kLcr, 0x03);
    for (unsigned i = 0; i < 256; ++i)
        uart.out(kData, i);
    int count = 0;
    while ((uart.in(kLsr) & 0x01) != 0 && count < 256) {
        (void)uart.in(kData);
        ++count;
    }
    CHECK(count == 16);
    uart.out(kMcr, 0x00);
    CHECK(uart.sink.text.empty());
}

TEST_CASE("a driver's start-up finds a transmitter interrupt that can be raised twice") {
    SerialFixture uart;
    uart.out(kFcr, 0x07);
    uart.out(kFcr, 0x00);
    (void)uart.in(kLsr);
    (void)uart.in(kData);
    (void)uart.in(kIir);
    (void)uart.in(kMsr);
    uart.out(kLcr, 0x03);
    uart.out(kMcr, 0x08);

    uart.out(kIer, 0x02);
    CHECK((uart.in(kIir) & 0x01) == 0);
    uart.out(kIer, 0x00);
    uart.out(kIer, 0x02);
    CHECK((uart.in(kIir) & 0x01) == 0);
    uart.out(kIer, 0x00);
    CHECK(uart.in(kLsr) == 0x60);
}
