/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's local APIC in both modes: how it gets into them, and what is sent. The APIC here refuses what SDM 3A
 * 10.12 "Extended XAPIC (x2APIC)" calls a #GP.
 *
 * links: arch/x86/lapic.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "arch/x86/irq.h"
#include "arch/x86/lapic.h"
#include "arch/x86/paging.h"
#include "kernel/lib/status.h"

#define EN   BIT(11)
#define EXTD BIT(10)
#define BSP  BIT(8)
#define HOME 0xfee00000ull
#define ICR  0x30u

static bool has_x2apic;
static u64 base;
static u32 id;
static u64 msrs[0x40]; /* x2APIC registers */
static u64 deadline;
static u32 icr_writes, base_writes, eois;
static u32 memory[1024]; /* xAPIC registers */
static u64 mapped;

struct cpuid_result cpu_cpuid(u32 leaf, u32 subleaf)
{
    struct cpuid_result leaf1 = {.ebx = id << 24, .ecx = BIT(24) | (has_x2apic ? BIT(21) : 0), .edx = BIT(9)};
    struct cpuid_result topology = {.ebx = 1, .edx = id};

    assert_int_equal(subleaf, 0);
    return leaf == 1 ? leaf1 : leaf == 0xb ? topology : (struct cpuid_result){.eax = 0xb};
}

u64 cpu_tsc(void)
{
    return 0;
}

u64 msr_read(u32 index)
{
    if (index == MSR_IA32_APIC_BASE)
        return base;
    assert_in_range(index, MSR_IA32_X2APIC_BASE, MSR_IA32_X2APIC_BASE + 0x3f);
    assert_int_equal(base & (EN | EXTD), EN | EXTD);
    return msrs[index - MSR_IA32_X2APIC_BASE];
}

/* SDM 3A 10.12.5 "x2APIC State Transitions": one bit at a time on the way in, and no way back but by disabling. */
static void write_base(u64 value)
{
    u64 old = base & (EN | EXTD), new = value &(EN | EXTD);

    assert_int_equal((base ^ value) & ~(EN | EXTD), 0);
    assert_true(old == new || (old == 0 && new == EN) || (old == EN && new == (EN | EXTD) && has_x2apic));
    base = value;
    base_writes++;
}

/* Read-only: id, version, LDR, ISR; absent: DFR, ICR's upper half. SDM 3A 10.12.1.2 "x2APIC Register Address Space" */
static void write_x2apic(u32 number, u64 value)
{
    assert_int_equal(base & (EN | EXTD), EN | EXTD);
    assert_false(number == 2 || number == 3 || number == 0xd || number == 0xe || (number >= 0x10 && number < 0x28) ||
                 number == 0x31);
    if (number == ICR) {
        icr_writes++;
        assert_int_equal(value & 0xfff32000, 0); /* no delivery status either: SDM 3A 10.12.9 */
    } else {
        assert_int_equal(value >> 32, 0);
    }
    if (number == 0xb || number == 0x28)
        assert_int_equal(value, 0);
    eois += number == 0xb;
    msrs[number] = value;
}

void msr_write(u32 index, u64 value)
{
    if (index == MSR_IA32_APIC_BASE)
        write_base(value);
    else if (index == MSR_IA32_TSC_DEADLINE)
        deadline = value;
    else if (index >= MSR_IA32_X2APIC_BASE && index < MSR_IA32_X2APIC_BASE + 0x40)
        write_x2apic(index - MSR_IA32_X2APIC_BASE, value);
    else
        fail_msg("WRMSR of 0x%x", index);
}

enum status paging_map_device(hpa_t address, u64 bytes, volatile void **out)
{
    assert_int_equal(bytes, 4096);
    mapped = address.raw;
    *out = memory;
    return STATUS_OK;
}

static void start(u64 first_base, bool x2, u32 apic_id)
{
    struct refusal why;

    base = first_base;
    has_x2apic = x2;
    id = apic_id;
    memset(msrs, 0, sizeof msrs);
    memset(memory, 0, sizeof memory);
    msrs[2] = apic_id;
    msrs[3] = 0x50014;
    memory[2 * 4] = apic_id << 24;
    memory[3 * 4] = 0x50014;
    mapped = deadline = 0;
    icr_writes = base_writes = eois = 0;
    assert_int_equal(lapic_init_boot_cpu(apic_id > 254, false, &why), STATUS_OK);
}

static void check_x2apic(u64 first_base, u32 writes)
{
    start(first_base, true, 0x12345);
    assert_true(lapic_is_x2apic());
    assert_int_equal(base, first_base | EN | EXTD);
    assert_int_equal(base_writes, writes);
    assert_int_equal(mapped, 0);
    assert_int_equal(msrs[0xf], BIT(8) | IRQ_VECTOR_SPURIOUS);
    assert_int_equal(msrs[0x35], BIT(16));
    assert_int_equal(msrs[0x36], 4 << 8); /* NMI */
    assert_int_equal(lapic_id(), 0x12345);
}

static void test_x2apic_from_each_state(void **state)
{
    (void)state;
    check_x2apic(HOME | BSP | EN, 1);
    check_x2apic(HOME | BSP, 2);
    check_x2apic(HOME | BSP | EN | EXTD, 0);
}

/* A CPU that comes later, in whatever state firmware left it. */
static void test_other_cpus_follow(void **state)
{
    static const u64 states[] = {HOME, HOME | EN, HOME | EN | EXTD};

    (void)state;
    start(HOME | BSP | EN, true, 0);
    for (u32 i = 0; i < ARRAY_SIZE(states); i++) {
        base = states[i];
        msrs[0xf] = 0;
        lapic_init_cpu();
        assert_int_equal(base, HOME | EN | EXTD);
        assert_int_equal(msrs[0xf], BIT(8) | IRQ_VECTOR_SPURIOUS);
    }
    start(HOME | BSP | EN, false, 0);
    base = HOME;
    lapic_init_cpu();
    assert_int_equal(base, HOME | EN);
}

static void test_xapic_without_it(void **state)
{
    struct refusal why;

    (void)state;
    start(HOME | BSP | EN, false, 7);
    assert_false(lapic_is_x2apic());
    assert_int_equal(mapped, HOME);
    assert_int_equal(base, HOME | BSP | EN);
    assert_int_equal(memory[0xf * 4], BIT(8) | IRQ_VECTOR_SPURIOUS);
    assert_int_equal(lapic_id(), 7);
    assert_int_equal(lapic_init_boot_cpu(true, false, &why), STATUS_UNSUPPORTED);
}

/* The destination has 32 bits, and the register is written once: SDM 3A 10.12.9 "ICR Operation in x2APIC Mode". */
static void test_ipis(void **state)
{
    (void)state;
    start(HOME | BSP | EN, true, 0);
    lapic_send_ipi(0x89abcdef, 0x51);
    assert_true(msrs[ICR] == 0x89abcdef00004051ull);
    lapic_send_init(0x1ff);
    assert_true(msrs[ICR] == 0x1ff00004500ull);
    lapic_send_startup(0x1ff, 0x9000);
    assert_true(msrs[ICR] == 0x1ff00004609ull);
    lapic_send_nmi(300);
    assert_true(msrs[ICR] == (300ull << 32 | 0x4400));
    lapic_send_nmi_all_others();
    assert_int_equal(msrs[ICR] & 0xffffffff, 0xc4400);
    assert_int_equal(icr_writes, 5);

    start(HOME | BSP | EN, false, 0);
    lapic_send_ipi(3, 0x51);
    assert_int_equal(memory[0x31 * 4], 3u << 24);
    assert_int_equal(memory[ICR * 4], 0x4051);
    assert_int_equal(icr_writes, 0);
}

static void test_timer_and_eoi(void **state)
{
    (void)state;
    start(HOME | BSP | EN, true, 0);
    assert_string_equal(lapic_timer_init(1000000000), "tsc-deadline");
    assert_int_equal(msrs[0x32], 2u << 17 | IRQ_VECTOR_TIMER);
    lapic_timer_arm(77);
    assert_int_equal(deadline, 77);
    lapic_eoi();
    assert_int_equal(eois, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_x2apic_from_each_state), cmocka_unit_test(test_other_cpus_follow),
        cmocka_unit_test(test_xapic_without_it),       cmocka_unit_test(test_ipis),
        cmocka_unit_test(test_timer_and_eoi),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
