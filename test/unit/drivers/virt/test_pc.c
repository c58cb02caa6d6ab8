/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The wiring of the PC: each device's interrupt reaches its vector, requests and console reach the host, sizes hold.
 * links: drivers/virt/pc.c drivers/virt/pic.c drivers/virt/pit.c drivers/virt/uart.c drivers/virt/cmos.c
 * links: drivers/virt/i8042.c drivers/virt/power.c drivers/virt/crtc.c drivers/virt/pci.c kernel/vm/bus.c
 * kernel/vm/vtimer.c links: drivers/virt/pm.c drivers/virt/vioapic.c drivers/virt/vhpet.c
 */
#include "drivers/virt/pc.h"
#include "test/fake/device_bench.h"

static struct pc pc;
static struct intc intc;
static char console[64];
static unsigned console_count, resets, poweroffs;
static bool asserted;

static void console_put(void *context, u8 character)
{
    assert_ptr_equal(context, &pc);
    console[console_count++] = (char)character;
    console[console_count] = 0;
}

static void request(void *context, enum pc_request what)
{
    assert_ptr_equal(context, &pc);
    resets += what == PC_REQUEST_RESET;
    poweroffs += what == PC_REQUEST_POWEROFF;
}

static void interrupt_raised(void *context)
{
    assert_ptr_equal(context, &pc);
    assert_true(pc.pic.output);
    asserted = true;
}

static struct vioapic_message message; /* the last */
static unsigned messages;

static bool interrupt_message(void *context, const struct vioapic_message *sent)
{
    assert_ptr_equal(context, &pc);
    message = *sent;
    messages++;
    return true;
}

static const char *typed = "";

static int console_get(void *context)
{
    assert_ptr_equal(context, &pc);
    return *typed ? (u8)*typed++ : -1;
}

static const struct pc_host host = {&pc, console_put, request, interrupt_raised, interrupt_message, console_get};
static const struct pc_host plain_host = {&pc, console_put, request, interrupt_raised, NULL, console_get};

static int start_with(const struct pc_host *chosen)
{
    bench_start();
    console_count = resets = poweroffs = messages = 0;
    asserted = false;
    assert_int_equal(pc_init(&pc, chosen, &bench.bus, &bench.timers, 0, 64 << 20), STATUS_OK);
    intc = pc_interrupt_controller(&pc);
    for (u16 port = 0x20; port <= 0xa0; port += 0x80) {
        out(port, 0x11);
        out((u16)(port + 1), port == 0x20 ? 0x20 : 0x28);
        out((u16)(port + 1), port == 0x20 ? 0x04 : 0x02);
        out((u16)(port + 1), 0x01);
    }
    return 0;
}

static int start(void **state)
{
    (void)state;
    return start_with(&host);
}

static int start_plain(void **state)
{
    (void)state;
    return start_with(&plain_host);
}

static void open_pin(u8 pin, u32 low)
{
    bus_write_memory(&bench.bus, gpa(0xfec00000), 4, 0x10u + 2 * pin);
    bus_write_memory(&bench.bus, gpa(0xfec00010), 4, low);
}

static void put_hpet(u32 offset, u64 value)
{
    bus_write_memory(&bench.bus, gpa(0xfed00000 + offset), 8, value);
}

static u8 next_vector(void)
{
    assert_true(asserted);
    assert_true(*intc.pending);
    u8 vector = intc.acknowledge(intc.device);
    asserted = *intc.pending;
    if (vector >= 0x28)
        out(0xa0, 0x20);
    out(0x20, 0x20);
    return vector;
}

static void test_quiet_at_first(void **state)
{
    (void)state;
    assert_false(*intc.pending);
    assert_in_range(bench.timers.next_ns, 54925401, 54926240); /* 65536 PIT ticks and the one that loads: 18.2 Hz */
}

static void test_timer_interrupt(void **state)
{
    (void)state;
    out(0x43, 0x34);
    out(0x40, 0xa9); /* 11945 ticks: 99.89 Hz */
    out(0x40, 0x2e);
    for (unsigned n = 1; n <= 5; n++) {
        bench_run_until(n * 10012000ull); /* tick 11945 n + 1, since the count is loaded by the next pulse */
        assert_int_equal(next_vector(), 0x20);
        assert_false(asserted);
    }
    bench_jump_to(SECOND_NS); /* the guest did not run: one interrupt for all that it missed */
    assert_int_equal(next_vector(), 0x20);
    assert_false(asserted);
}

static void test_unacknowledged_ticks_are_one(void **state)
{
    (void)state;
    bench_run_until(SECOND_NS);
    assert_int_equal(next_vector(), 0x20);
    assert_false(asserted);
}

static void test_console(void **state)
{
    (void)state;
    for (const char *c = "Hi\n"; *c; c++)
        out(0x3f8, (u8)*c);
    assert_string_equal(console, "Hi\n");
    out(0x3fc, 0x08);
    out(0x3f9, 0x01);
    typed = "xy";
    pc_take_input(&pc);
    assert_string_equal(typed, "y");
    assert_int_equal(next_vector(), 0x24);
    assert_int_equal(in(0x3f8), 'x');
    assert_int_equal(next_vector(), 0x24);
    assert_int_equal(in(0x3f8), 'y');
}

static void test_keyboard_and_clock(void **state)
{
    (void)state;
    out(0x60, 0xee);
    assert_int_equal(next_vector(), 0x21);
    out(0x21, 0x01); /* the timer off */
    out(0x70, 0x0b);
    out(0x71, 0x12);
    bench_run_until(SECOND_NS);
    assert_int_equal(next_vector(), 0x28);
    assert_false(asserted);
    bench_run_until(3 * SECOND_NS);
    assert_false(asserted); /* until register C is read */
    out(0x70, 0x0c);
    in(0x71);
    bench_run_until(4 * SECOND_NS);
    assert_int_equal(next_vector(), 0x28);
}

static void test_page_registers(void **state)
{
    (void)state;
    assert_int_equal(in(0x80), 0);
    for (u16 i = 0; i < 16; i++)
        out((u16)(0x80 + i), (u8)(0xa1 + 3 * i));
    for (u16 i = 0; i < 16; i++)
        assert_int_equal(in((u16)(0x80 + i)), 0xa1 + 3 * i);
    assert_int_equal(in(0x92), 2); /* control A keeps its place above them */
}

static void test_requests(void **state)
{
    (void)state;
    out(0x64, 0xfe);
    out(0x92, 0x03);
    out(0xcf9, 0x06);
    assert_int_equal(resets, 3);
    bus_write_port(&bench.bus, 0x604, 2, 0x2000);
    assert_int_equal(poweroffs, 1);
}

static void test_every_port_in_every_size(void **state)
{
    (void)state;
    for (u32 port = 0; port < 0x10000; port++)
        for (u8 bytes = 1; bytes <= 4; bytes = (u8)(bytes * 2)) {
            u32 value = bus_read_port(&bench.bus, (u16)port, bytes);
            assert_true(bytes == 4 || value >> (8 * bytes) == 0);
            bus_write_port(&bench.bus, (u16)port, bytes, 0xffffffff);
        }
    assert_int_equal(in(0x80), 0xff);
    assert_int_equal(in(0x2f8), 0xff);
    assert_int_equal(in(0x1f7), 0xff);
    bench_run_until(bench.now_ns + SECOND_NS);
}

/* Each line reaches both controllers; IRQ 0 is pin 2. */
static void test_ioapic_pins(void **state)
{
    (void)state;
    for (u8 pin = 0; pin < 24; pin++)
        open_pin(pin, 0x40u + pin);
    out(0x43, 0x34);
    out(0x40, 0xa9);
    out(0x40, 0x2e);
    bench_run_until(10012000);
    assert_int_equal(messages, 1);
    assert_int_equal(message.vector, 0x42);
    assert_int_equal(next_vector(), 0x20);
    out(0x43, 0x30); /* the timer off */
    out(0x60, 0xee);
    assert_int_equal(message.vector, 0x41);
    assert_int_equal(next_vector(), 0x21);
    out(0x3fc, 0x08);
    out(0x3f9, 0x01);
    typed = "x";
    pc_take_input(&pc);
    assert_int_equal(message.vector, 0x44);
    out(0x70, 0x0b);
    out(0x71, 0x12);
    bench_run_until(SECOND_NS);
    assert_int_equal(message.vector, 0x48);
    assert_int_equal(messages, 4);
}

static void test_sci(void **state)
{
    (void)state;
    open_pin(9, 0x8049);
    bus_write_port(&bench.bus, 0x602, 2, 1);
    bench_run_until(600 * SECOND_NS); /* the PM timer's bit 31 */
    assert_int_equal(message.vector, 0x49);
    assert_true(message.level);
    unsigned before = messages;
    pc_end_interrupt(&pc, 0x49);
    assert_int_equal(messages, before + 1); /* until the status is cleared */
    bus_write_port(&bench.bus, 0x600, 2, 1);
    pc_end_interrupt(&pc, 0x49);
    assert_int_equal(messages, before + 1);
}

static void test_legacy_replacement(void **state)
{
    (void)state;
    open_pin(2, 0x42);
    out(0x70, 0x0b);
    out(0x71, 0x12); /* an update interrupt each second */
    put_hpet(0x100, 0x4 | 0x8 | 0x40);
    put_hpet(0x108, 100000);
    put_hpet(0x120, 0x4);
    put_hpet(0x128, 150000000);
    put_hpet(0x10, 3);
    bench_run_until(10 * 1000000);
    assert_int_equal(messages, 10); /* comparator 0 and no PIT */
    assert_int_equal(next_vector(), 0x20);
    put_hpet(0x100, 0);
    messages = 0;
    bench_run_until(SECOND_NS);
    assert_int_equal(messages, 0);
    assert_false(asserted); /* neither PIT nor CMOS clock */
    bench_run_until(SECOND_NS * 3 / 2);
    assert_int_equal(next_vector(), 0x28); /* comparator 1 */
    assert_false(asserted);
    put_hpet(0x10, 1);
    assert_int_equal(messages, 1); /* both are back, and their outputs are high */
    assert_int_equal(next_vector(), 0x20);
    assert_int_equal(next_vector(), 0x28);
}

static void test_plain(void **state)
{
    (void)state;
    assert_true(bus_read_memory(&bench.bus, gpa(0xfec00000), 4) == 0xffffffff);
    assert_true(bus_read_memory(&bench.bus, gpa(0xfed00000), 8) == ~0ull);
    pc_end_interrupt(&pc, 0x40);
    bench_run_until(60 * 1000000);
    assert_int_equal(next_vector(), 0x20);
    assert_int_equal(bus_read_port(&bench.bus, 0x608, 4), 214772);
}

static void test_small(void **state)
{
    (void)state;
    assert_true(sizeof pc + sizeof bench.bus <= 5120);
    assert_true(bench.timers.count <= VTIMER_MAX - 4); /* room for the vCPU's own */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_quiet_at_first, start),
        cmocka_unit_test_setup(test_timer_interrupt, start),
        cmocka_unit_test_setup(test_unacknowledged_ticks_are_one, start),
        cmocka_unit_test_setup(test_console, start),
        cmocka_unit_test_setup(test_keyboard_and_clock, start),
        cmocka_unit_test_setup(test_page_registers, start),
        cmocka_unit_test_setup(test_requests, start),
        cmocka_unit_test_setup(test_every_port_in_every_size, start),
        cmocka_unit_test_setup(test_ioapic_pins, start),
        cmocka_unit_test_setup(test_sci, start),
        cmocka_unit_test_setup(test_legacy_replacement, start),
        cmocka_unit_test_setup(test_plain, start_plain),
        cmocka_unit_test_setup(test_small, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
