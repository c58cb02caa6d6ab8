/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The I/O APICs' entries, on two that have an index and a data register: each access to their pages faults, runs as a
 * single step, and then does what the device does. Intel 82093AA, 3.1 "Memory Mapped Registers for Accessing IOAPIC
 * Registers", 3.2.4 "IOREDTBL[23:0]: I/O Redirection Table Registers".
 * links: arch/x86/ioapic.c
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <cmocka.h>

#include "arch/x86/ioapic.h"
#include "arch/x86/paging.h"
#include "kernel/lib/bits.h"

#define CHIPS      2u
#define INDEX      0u
#define DATA       4u
#define VERSION    1u
#define ENTRIES    0x10u
#define MASKED     0x10000u
#define LEVEL      0x8000u
#define ACTIVE_LOW 0x2000u
#define TRAP_FLAG  0x100
#define WRITES     2 /* of a page fault's error code */

static struct chip {
    volatile u32 *page; /* not accessible */
    u32 index;
    u32 pins;
    u32 entries[2 * 240];
} chips[CHIPS] = {{.pins = 24}, {.pins = 8}};

/* The access that faulted. */
static struct {
    struct chip *chip;
    u32 word;
    bool writes;
} fault;
static u32 torn; /* an entry was open while its halves did not belong together */

static u32 read_chip(const struct chip *chip)
{
    if (chip->index == VERSION)
        return (chip->pins - 1) << 16 | 0x11;
    return chip->index - ENTRIES < 2 * chip->pins ? chip->entries[chip->index - ENTRIES] : 0xffffffff;
}

static void write_chip(struct chip *chip, u32 value)
{
    u32 at = chip->index - ENTRIES;

    if (at >= 2 * chip->pins)
        return;
    torn += at % 2 && !(chip->entries[at - 1] & MASKED) && value != chip->entries[at];
    chip->entries[at] = value;
}

static void begin_access(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

    (void)number;
    fault.chip = NULL;
    for (u32 i = 0; i < CHIPS; i++)
        if ((uintptr_t)info->si_addr - (uintptr_t)chips[i].page < FRAME_BYTES)
            fault.chip = &chips[i];
    if (!fault.chip)
        abort();
    fault.word = (u32)((uintptr_t)info->si_addr - (uintptr_t)fault.chip->page) / 4;
    fault.writes = registers[REG_ERR] & WRITES;
    mprotect((void *)fault.chip->page, FRAME_BYTES, PROT_READ | PROT_WRITE);
    if (!fault.writes)
        fault.chip->page[fault.word] = fault.word == DATA ? read_chip(fault.chip) : fault.chip->index;
    registers[REG_EFL] |= TRAP_FLAG;
}

static void end_access(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    if (fault.writes && fault.word == INDEX)
        fault.chip->index = fault.chip->page[INDEX] & 0xff;
    if (fault.writes && fault.word == DATA)
        write_chip(fault.chip, fault.chip->page[DATA]);
    mprotect((void *)fault.chip->page, FRAME_BYTES, PROT_NONE);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
}

/* Within a test: cmocka takes the first of these signals behind the set-up. */
static void connect(void)
{
    const struct sigaction begin = {.sa_sigaction = begin_access, .sa_flags = SA_SIGINFO};
    const struct sigaction end = {.sa_sigaction = end_access, .sa_flags = SA_SIGINFO};

    assert_int_equal(sigaction(SIGSEGV, &begin, NULL), 0);
    assert_int_equal(sigaction(SIGTRAP, &end, NULL), 0);
    torn = 0;
}

enum status paging_map_device(hpa_t address, u64 bytes, volatile void **out)
{
    u64 chip = (address.raw - 0xfec00000) >> 12;

    assert_true(bytes > 4 * DATA);
    if (chip >= CHIPS)
        return STATUS_NO_MEMORY;
    *out = chips[chip].page = mmap(NULL, FRAME_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(chips[chip].page, MAP_FAILED);
    return STATUS_OK;
}

static void assert_all_masked(void)
{
    for (u32 i = 0; i < CHIPS; i++)
        for (u32 pin = 0; pin < chips[i].pins; pin++)
            assert_true(chips[i].entries[2 * pin] & MASKED);
}

/* The driver has one life: the tests follow each other. */
static void test_all_pins_are_masked(void **state)
{
    struct acpi_info acpi = {
        .ioapics = {{.address = 0xfec00000, .gsi_base = 0},
                    {.address = 0xfed00000},
                    {.address = 0xfec01000, .gsi_base = 24}},
        .ioapic_count = 3
    };
    struct refusal why;

    (void)state;
    connect();
    for (u32 irq = 0; irq < ACPI_ISA_IRQS; irq++)
        acpi.isa_irqs[irq].gsi = irq;
    acpi.isa_irqs[0].gsi = 2;
    acpi.isa_irqs[9] = (struct acpi_isa_irq){.gsi = 9, .active_low = true, .level = true};
    acpi.isa_irqs[10] = (struct acpi_isa_irq){.gsi = 25, .active_low = true};
    acpi.isa_irqs[11].gsi = 32;                                   /* behind all pins */
    assert_int_equal(ioapic_init(&acpi, &why), STATUS_NO_MEMORY); /* one of three is nowhere; the others work */
    assert_non_null(strstr(why.text, "0xfed00000"));
    assert_int_equal(ioapic_pin_count(), 32);
    assert_all_masked();
}

static void assert_routed(u8 irq, u32 chip, u32 pin, u32 low)
{
    assert_int_equal(ioapic_route_isa(irq, 0x91, 0xfe), STATUS_OK);
    assert_int_equal(chips[chip].entries[2 * pin], low);
    assert_int_equal(chips[chip].entries[2 * pin + 1], 0xfe000000);
    assert_int_equal(torn, 0);
}

static void test_routes(void **state)
{
    (void)state;
    connect();
    assert_routed(4, 0, 4, 0x91);
    assert_routed(0, 0, 2, 0x91);
    assert_true(chips[0].entries[0] & MASKED);
    assert_routed(9, 0, 9, 0x91 | LEVEL | ACTIVE_LOW);
    assert_routed(10, 1, 1, 0x91 | ACTIVE_LOW);
    assert_int_equal(ioapic_route_isa(4, 0x92, 3), STATUS_OK); /* elsewhere: while it is open, nothing else changes */
    assert_int_equal(chips[0].entries[9], 0x03000000);
    assert_int_equal(torn, 0);
}

static void test_what_cannot_be_routed(void **state)
{
    (void)state;
    connect();
    assert_int_equal(ioapic_route_isa(11, 0x91, 0), STATUS_UNSUPPORTED);
    assert_int_equal(ioapic_route_isa(5, 0x91, 0xff), STATUS_UNSUPPORTED); /* every CPU */
    assert_int_equal(ioapic_route_isa(5, 0x91, 0x100), STATUS_UNSUPPORTED);
    assert_true(chips[0].entries[10] & MASKED);
}

static void test_the_end(void **state)
{
    (void)state;
    connect();
    ioapic_mask_all();
    assert_all_masked();
    ioapic_set_blocked();
    assert_int_equal(ioapic_route_isa(4, 0x91, 0), STATUS_UNSUPPORTED);
    assert_all_masked();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_pins_are_masked),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_what_cannot_be_routed),
        cmocka_unit_test(test_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
