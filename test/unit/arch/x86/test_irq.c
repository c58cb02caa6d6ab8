/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dispatch of interrupts: handler first, then the EOI, and none for the spurious vector.
 * links: arch/x86/irq.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch/x86/ioapic.h"
#include "arch/x86/irq.h"
#include "arch/x86/lapic.h"

static unsigned handled, eois;
static bool routes;

void lapic_eoi(void)
{
    eois++;
}

u32 lapic_id(void)
{
    return 7;
}

enum status ioapic_route_isa(u8 irq, u8 vector, u32 apic_id)
{
    assert_int_equal(irq, 4);
    assert_int_equal(vector, IRQ_VECTOR_SERIAL);
    assert_int_equal(apic_id, 7);
    return routes ? STATUS_OK : STATUS_UNSUPPORTED;
}

static void handle(void)
{
    assert_int_equal(eois, handled);
    handled++;
}

static int start(void **state)
{
    (void)state;
    handled = eois = 0;
    for (unsigned vector = 32; vector < 256; vector++)
        irq_set_handler((u8)vector, NULL);
    return 0;
}

/* SDM 3A 10.8.5 "Signaling Interrupt Servicing Completion": at the end of the handler. */
static void test_eoi_follows_the_handler(void **state)
{
    (void)state;
    irq_set_handler(IRQ_VECTOR_TIMER, handle);
    irq_set_handler(32, handle);
    irq_dispatch(IRQ_VECTOR_TIMER);
    irq_dispatch(32);
    assert_int_equal(handled, 2);
    assert_int_equal(eois, 2);
    assert_int_equal(irq_unexpected_count(NULL), 0);
}

/* SDM 3A 10.9 "Spurious Interrupt": no bit of ISR is set, so that an EOI would end another interrupt. */
static void test_spurious(void **state)
{
    (void)state;
    irq_dispatch(IRQ_VECTOR_SPURIOUS);
    assert_int_equal(eois, 0);
    assert_int_equal(irq_unexpected_count(NULL), 0);
}

/* Nobody has asked for it, but it is in service all the same. */
static void test_unexpected(void **state)
{
    u64 before = irq_unexpected_count(NULL);
    u8 last = 0;

    (void)state;
    irq_dispatch(0x51);
    irq_dispatch(0x50);
    assert_int_equal(eois, 2);
    assert_int_equal(irq_unexpected_count(&last) - before, 2);
    assert_int_equal(last, 0x50);
    irq_set_handler(0x50, handle);
    handled = eois;
    irq_dispatch(0x50);
    assert_int_equal(irq_unexpected_count(&last) - before, 2);
}

static void test_isa_interrupts_go_to_the_caller(void **state)
{
    (void)state;
    routes = true;
    assert_true(irq_route_isa(4, IRQ_VECTOR_SERIAL));
    routes = false;
    assert_false(irq_route_isa(4, IRQ_VECTOR_SERIAL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_eoi_follows_the_handler, start),
        cmocka_unit_test_setup(test_spurious, start),
        cmocka_unit_test_setup(test_unexpected, start),
        cmocka_unit_test_setup(test_isa_interrupts_go_to_the_caller, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
