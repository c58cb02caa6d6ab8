/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guests' ACPI tables, as the hypervisor's own reader finds them, and field by field where it does not look.
 * links: kernel/vm/acpi.c kernel/vm/memory.c kernel/vm/layer.c arch/x86/acpi.c arch/x86/acpi_devices.c
 * test/fake/host_memory.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/acpi.h"
#include "kernel/vm/acpi.h"
#include "test/fake/host_memory.h"

/* What kernel/vm/dsdt.asm is in the kernel. */
asm(".section .rodata\n"
    ".globl guest_acpi_dsdt, guest_acpi_dsdt_end\n"
    "guest_acpi_dsdt: .incbin \"build/kernel/vm/dsdt.aml\"\n"
    "guest_acpi_dsdt_end:\n"
    ".previous");

static struct guest_memory memory;
static struct acpi_info info;
static struct refusal why;

static u64 word(u64 address, unsigned width)
{
    u64 value = 0;
    assert_int_equal(guest_memory_read(&memory, gpa(address), &value, width), STATUS_OK);
    return value;
}

static const void *map(void *context, u64 address, u64 bytes)
{
    (void)context;
    const struct guest_region *r = guest_memory_find(&memory, gpa(address));
    if (!r || address + bytes > r->base.raw + r->size_bytes)
        return NULL;
    return (u8 *)phys_to_virt(r->frames) + (address - r->base.raw);
}

static u64 install(u32 cpus)
{
    const struct acpi_reader reader = {map, NULL};
    gpa_t rsdp;

    host_memory_init(MIB(1), MIB(4));
    assert_int_equal(guest_memory_allocate(&memory, MIB(2), &why), STATUS_OK);
    assert_int_equal(guest_acpi_install(&memory, cpus, &rsdp), STATUS_OK);
    assert_int_equal(acpi_parse(&reader, NULL, 0, &info, &why), STATUS_OK);
    return rsdp.raw;
}

static void test_own_reader(void **state)
{
    (void)state;
    for (u32 cpus = 1; cpus <= 16; cpus++) {
        install(cpus);
        assert_int_equal(info.tables_found, 5); /* XSDT, FADT, DSDT, MADT, HPET */
        assert_int_equal(info.tables_broken, 0);
        assert_int_equal(info.cpu_count, cpus);
        for (u32 i = 0; i < cpus; i++)
            assert_int_equal(info.cpu_apic_ids[i], i);
    }
    assert_int_equal(info.lapic_address, 0xfee00000);
    assert_int_equal(info.ioapic_count, 1);
    assert_int_equal(info.ioapics[0].address, 0xfec00000);
    assert_int_equal(info.ioapics[0].gsi_base | info.ioapics[0].id, 0);
    for (u32 irq = 0; irq < ACPI_ISA_IRQS; irq++) {
        assert_int_equal(info.isa_irqs[irq].gsi, irq == 0 ? 2 : irq);
        assert_int_equal(info.isa_irqs[irq].level, irq == 9);
        assert_false(info.isa_irqs[irq].active_low);
    }
    assert_int_equal(info.nmi_lines, 1);
    assert_false(info.nmi_lint0);
    assert_int_equal(info.pm1a_control, 0x604);
    assert_int_equal(info.pm1b_control, 0);
    assert_int_equal(info.pm_timer_port, 0x608);
    assert_int_equal(info.pm_timer_bits, 32);
    assert_int_equal(info.smi_command_port, 0);
    assert_true(info.reset.usable && info.reset.is_port);
    assert_int_equal(info.reset.address, 0xcf9);
    assert_int_equal(info.reset.value, 6);
    assert_true(info.s5.usable);
    assert_int_equal(info.s5.type_a, 5);
    assert_int_equal(info.hpet_address, 0xfed00000);
}

static void expect_sum(u64 address, u64 bytes)
{
    u8 sum = 0;
    for (u64 i = 0; i < bytes; i++)
        sum = (u8)(sum + word(address + i, 1));
    assert_int_equal(sum, 0);
}

/* Both roots, for readers of either age, with the same tables. */
static void test_roots(void **state)
{
    (void)state;
    u64 rsdp = install(3);
    assert_int_equal(rsdp % 16, 0);
    assert_in_range(rsdp, 0xe0000, 0xfffff);
    expect_sum(rsdp, 20);
    expect_sum(rsdp, 36);
    u64 rsdt = word(rsdp + 16, 4);
    u64 xsdt = word(rsdp + 24, 8);
    assert_int_equal(word(rsdt, 4), 0x54445352);
    assert_int_equal(word(rsdt + 4, 4), 36 + 3 * 4);
    assert_int_equal(word(xsdt + 4, 4), 36 + 3 * 8);
    expect_sum(rsdt, 36 + 3 * 4);
    for (u32 i = 0; i < 3; i++) {
        u64 table = word(rsdt + 36 + 4 * i, 4);
        assert_int_equal(word(xsdt + 36 + 8 * i, 8), table);
        expect_sum(table, word(table + 4, 4));
    }
}

/* Every table in its place, none over another. */
static void test_tables_do_not_overlap(void **state)
{
    u64 end = 0;

    (void)state;
    u64 rsdp = install(16);
    u64 xsdt = word(rsdp + 24, 8);
    u64 fadt = word(xsdt + 36, 8);
    const u64 tables[] = {word(rsdp + 16, 4), xsdt, word(fadt + 36, 4), fadt, word(xsdt + 52, 8), word(xsdt + 44, 8),
                          word(fadt + 40, 4)};
    end = rsdp + 36;
    for (u32 i = 0; i < ARRAY_SIZE(tables); i++) {
        assert_true(tables[i] >= end);
        end = tables[i] + word(tables[i] + 4, 4);
    }
    assert_int_equal(word(tables[2], 4), 0x53434146); /* FACS */
    assert_int_equal(tables[2] % 64, 0);
    assert_int_equal(word(fadt + 140, 8), tables[6]);
    assert_int_equal(word(fadt + 8, 1), 6);
    assert_int_equal(word(fadt + 4, 4), 276);
    assert_int_equal(word(fadt + 46, 2), 9);
    assert_int_equal(word(fadt + 56, 4), 0x600);
    assert_int_equal(word(fadt + 108, 1), 0x32);
    assert_int_equal(word(fadt + 109, 2), 3);
    assert_int_equal(word(fadt + 148, 4), 0x02002001);
    assert_int_equal(word(fadt + 152, 8), 0x600);
    assert_int_equal(word(fadt + 212, 8), 0x608);
}

static void test_memory_without_firmware_area(void **state)
{
    gpa_t rsdp;

    (void)state;
    memset(&memory, 0, sizeof memory);
    assert_int_equal(guest_acpi_install(&memory, 1, &rsdp), STATUS_OUT_OF_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_reader),
        cmocka_unit_test(test_roots),
        cmocka_unit_test(test_tables_do_not_overlap),
        cmocka_unit_test(test_memory_without_firmware_area),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
