/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC by the SDM's rules: modes, registers of both interfaces, priorities, errors, LINT pins, IPIs.
 * links: drivers/virt/vlapic.c drivers/virt/vlapic_requests.c drivers/virt/vlapic_timer.c kernel/vm/vtimer.c
 * kernel/vm/bus.c
 */
#include "drivers/virt/vlapic.h"
#include "drivers/virt/vlapic_timer.h"
#include <string.h>

#include "kernel/lib/bits.h"
#include "test/fake/device_bench.h"

#define X2APIC_ON (APIC_ADDRESS | APIC_BASE_MODE)

static u32 page[2][VLAPIC_PAGE_BYTES / 4];
static struct vlapic apic, other;
static unsigned notices, nmis, ipis, ends;
static struct vlapic_ipi last_ipi;
static u8 last_end;

static void notify(void *context)
{
    assert_ptr_equal(context, &apic);
    notices++;
}

static void nmi(void *context)
{
    (void)context;
    nmis++;
}

static void take_ipi(void *context, const struct vlapic_ipi *ipi)
{
    (void)context;
    last_ipi = *ipi;
    ipis++;
}

static void end_level(void *context, u8 vector)
{
    (void)context;
    last_end = vector;
    ends++;
}

/* 2 GHz, from 1000 at time 0. */
static u64 ns_of_tsc(void *context, u64 tsc)
{
    (void)context;
    return tsc < 1000 ? 0 : (tsc - 1000 + 1) / 2;
}

static const struct vlapic_host host = {notify, notify, nmi, take_ipi, end_level, ns_of_tsc};

static bool intr; /* LINT0 */

static void set_lint0(bool level)
{
    bool rises = level && !intr;

    intr = level;
    if (rises)
        vlapic_raise_lint0(&apic);
}

static int start(void **state)
{
    (void)state;
    bench_start();
    intr = false;
    struct vlapic_setup setup = {&host, &apic, page[0], &intr,   &bench.timers, 3,
                                 36,    true,  true,    BIT(54), BIT(60),       NULL};
    vlapic_init(&apic, &setup);
    setup = (struct vlapic_setup){&host, &apic, page[1], &intr,   &bench.timers, 0x12,
                                  36,    false, true,    BIT(54), BIT(60),       NULL};
    vlapic_init(&other, &setup);
    notices = nmis = ipis = ends = 0;
    return 0;
}

static struct posted_requests posted;

static u32 get(u32 offset)
{
    return (u32)vlapic_read(&apic, offset, 4);
}

static void put(u32 offset, u32 value)
{
    vlapic_write(&apic, offset, 4, value);
}

static u32 errors(void)
{
    put(APIC_ESR, 0);
    return get(APIC_ESR);
}

static bool wrmsr(u32 msr, u64 value)
{
    return vlapic_write_msr(&apic, msr - 0x800, value);
}

static u64 rdmsr(u32 msr)
{
    u64 value = 0x5a5a5a5a5a5a5a5a;
    assert_true(vlapic_read_msr(&apic, msr - 0x800, &value));
    return value;
}

static bool reads(u32 msr)
{
    u64 value;
    return vlapic_read_msr(&apic, msr - 0x800, &value);
}

static void enable(void)
{
    put(APIC_SVR, 0x1ff);
}

/* SDM 3A 10.4.7.1 "Local APIC State After Power-Up or Reset" */
static void test_power_up(void **state)
{
    (void)state;
    assert_int_equal(apic.base, 0xfee00900);
    assert_int_equal(other.base, 0xfee00800);
    assert_int_equal(get(APIC_ID), 0x03000000);
    assert_int_equal(get(APIC_VERSION), 0x00050014);
    assert_int_equal(get(APIC_SVR), 0xff);
    assert_int_equal(get(APIC_DFR), 0xffffffff);
    for (u32 lvt = 0x320; lvt <= 0x370; lvt += 0x10)
        assert_int_equal(get(lvt), 0x10000);
    static const u16 zeros[] = {0x80, 0xa0, 0xd0, 0x280, 0x300, 0x310, 0x380, 0x390, 0x3e0, 0x100, 0x1f0, 0x270};
    for (unsigned i = 0; i < ARRAY_SIZE(zeros); i++)
        assert_int_equal(get(zeros[i]), 0);
    assert_int_equal(errors(), 0);
    assert_int_equal(vlapic_pending(&apic), -1);
}

static void test_software_disabled(void **state)
{
    (void)state;
    assert_false(vlapic_accept(&apic, 0x40, false));
    put(APIC_LVT_LINT0, 0x700);
    assert_int_equal(get(APIC_LVT_LINT0), 0x10700); /* cannot be unmasked */
    enable();
    put(APIC_LVT_LINT0, 0x700);
    assert_int_equal(get(APIC_LVT_LINT0), 0x700);
    assert_true(vlapic_accept(&apic, 0x40, false));
    put(APIC_SVR, 0x0ff);
    assert_int_equal(get(APIC_LVT_LINT0), 0x10700);
    assert_int_equal(vlapic_pending(&apic), 0x40); /* held, for the CPU to handle */
    put(APIC_SVR, 0xfffff1fe);
    assert_int_equal(get(APIC_SVR), 0x1fe);
    assert_int_equal(get(APIC_LVT_LINT0), 0x10700);
}

static void test_priorities(void **state)
{
    (void)state;
    enable();
    assert_true(vlapic_accept(&apic, 0x41, false));
    assert_int_equal(notices, 1);
    assert_true(vlapic_accept(&apic, 0x31, false)); /* lower: nothing new to deliver */
    assert_int_equal(notices, 1);
    assert_true(vlapic_accept(&apic, 0xef, false));
    assert_int_equal(notices, 2);
    assert_int_equal(get(APIC_IRR + 0x10), 1u << 0x11);
    assert_int_equal(get(APIC_IRR + 0x20), 1u << 1);
    assert_int_equal(vlapic_acknowledge(&apic), 0xef);
    assert_int_equal(get(APIC_ISR + 0x70), 1u << 0xf);
    assert_int_equal(get(APIC_IRR + 0x70), 0);
    assert_int_equal(get(APIC_PPR), 0xe0);
    assert_int_equal(vlapic_pending(&apic), -1);
    vlapic_accept(&apic, 0xe1, false); /* the same class waits */
    assert_int_equal(vlapic_pending(&apic), -1);
    vlapic_accept(&apic, 0xf0, false);
    assert_int_equal(vlapic_acknowledge(&apic), 0xf0);
    assert_int_equal(get(APIC_PPR), 0xf0);
    put(APIC_EOI, 0);
    assert_int_equal(get(APIC_PPR), 0xe0);
    assert_int_equal(vlapic_pending(&apic), -1);
    put(APIC_EOI, 0);
    assert_int_equal(vlapic_acknowledge(&apic), 0xe1);
    put(APIC_EOI, 0);
    assert_int_equal(vlapic_acknowledge(&apic), 0x41);
    put(APIC_EOI, 0);
    assert_int_equal(vlapic_acknowledge(&apic), 0x31);
    put(APIC_EOI, 0);
    put(APIC_EOI, 0); /* with nothing in service: nothing */
    assert_int_equal(vlapic_pending(&apic), -1);
    assert_int_equal(vlapic_acknowledge(&apic), 0xff); /* spurious */
    assert_int_equal(ends, 0);
}

static void test_task_priority(void **state)
{
    (void)state;
    enable();
    put(APIC_TPR, 0x4f);
    assert_int_equal(get(APIC_PPR), 0x4f);
    vlapic_accept(&apic, 0x4f, false);
    assert_int_equal(vlapic_pending(&apic), -1);
    vlapic_accept(&apic, 0x50, false);
    assert_int_equal(vlapic_acknowledge(&apic), 0x50);
    assert_int_equal(get(APIC_PPR), 0x50);
    put(APIC_TPR, 0x53); /* the same class: PPR is TPR */
    assert_int_equal(get(APIC_PPR), 0x53);
    put(APIC_EOI, 0);
    notices = 0;
    vlapic_write_cr8(&apic, 3);
    assert_int_equal(get(APIC_TPR), 0x30);
    assert_int_equal(vlapic_read_cr8(&apic), 3);
    assert_int_equal(notices, 1);
    assert_int_equal(vlapic_pending(&apic), 0x4f);
    *vlapic_register(&apic, APIC_TPR) = 0xf0; /* as hardware writes it */
    vlapic_update(&apic);
    assert_int_equal(vlapic_pending(&apic), -1);
}

static void test_trigger_mode_and_broadcast(void **state)
{
    (void)state;
    enable();
    vlapic_accept(&apic, 0x55, true);
    assert_int_equal(get(APIC_TMR + 0x20), 1u << 0x15);
    vlapic_acknowledge(&apic);
    put(APIC_EOI, 0);
    assert_int_equal(ends, 1);
    assert_int_equal(last_end, 0x55);
    vlapic_accept(&apic, 0x55, false);
    assert_int_equal(get(APIC_TMR + 0x20), 0);
    vlapic_acknowledge(&apic);
    put(APIC_EOI, 0);
    assert_int_equal(ends, 1);
}

static void test_every_vector(void **state)
{
    (void)state;
    enable();
    for (unsigned vector = 16; vector < 256; vector++)
        assert_true(vlapic_accept(&apic, (u8)vector, vector & 1));
    assert_int_equal(vlapic_pending(&apic), 255);
    for (unsigned vector = 255; vector >= 16; vector--) {
        assert_int_equal(vlapic_pending(&apic), vector);
        assert_int_equal(vlapic_acknowledge(&apic), vector);
        assert_int_equal(get(APIC_ISR + vector / 32 * 16), 1u << vector % 32);
        put(APIC_EOI, 0);
    }
    assert_int_equal(ends, 120);
    assert_int_equal(vlapic_pending(&apic), -1);
}

static void test_errors(void **state)
{
    (void)state;
    enable();
    put(APIC_LVT_ERROR, 0xfe);
    get(0x90);                          /* arbitration priority: not in this APIC */
    assert_int_equal(get(APIC_ESR), 0); /* only after a write */
    assert_int_equal(vlapic_acknowledge(&apic), 0xfe);
    put(APIC_EOI, 0);
    put(0x2f0, 0); /* a second one interrupts no more */
    put(0x400, 0);
    assert_int_equal(vlapic_pending(&apic), -1);
    assert_int_equal(errors(), 0x80);
    assert_int_equal(errors(), 0);
    put(APIC_ICR, 0x4000f); /* self, vector 15: sent and received */
    assert_int_equal(vlapic_pending(&apic), 0xfe);
    assert_int_equal(errors(), 0x60);
    vlapic_acknowledge(&apic);
    put(APIC_EOI, 0);
    put(APIC_ID, 0xff000000); /* read-only: no error */
    put(APIC_TIMER_CURRENT, 1);
    assert_int_equal(errors(), 0);
    assert_int_equal(get(APIC_ID), 0x03000000);
    put(APIC_LVT_ERROR, 0x05); /* an illegal vector by itself */
    get(0x000);
    assert_int_equal(errors(), 0xc0);
    assert_int_equal(vlapic_pending(&apic), -1);
}

static void test_xapic_access_sizes(void **state)
{
    (void)state;
    assert_int_equal(vlapic_read(&apic, APIC_VERSION, 8), 0x00050014);
    assert_int_equal(vlapic_read(&apic, APIC_VERSION + 2, 1), 0x05);
    assert_int_equal(vlapic_read(&apic, APIC_VERSION + 4, 4), 0);
    vlapic_write(&apic, APIC_TPR, 1, 0x40);
    vlapic_write(&apic, APIC_TPR + 4, 4, 0x40);
    assert_int_equal(get(APIC_TPR), 0);
    vlapic_write(&apic, APIC_TPR, 8, 0x1234567800000140);
    assert_int_equal(get(APIC_TPR), 0x40);
}

static void test_writable_bits(void **state)
{
    (void)state;
    static const u32 kept[][2] = {
        {0x80,  0xff      },
        {0xd0,  0xff000000},
        {0xe0,  0xffffffff},
        {0xf0,  0x3ff     },
        {0x310, 0xff000000},
        {0x330, 0x107ff   },
        {0x340, 0x107ff   },
        {0x350, 0x1a7ff   },
        {0x360, 0x1a7ff   },
        {0x370, 0x100ff   },
        {0x3e0, 0xb       },
        {0x320, 0x700ff   }
    };
    for (unsigned i = 0; i < ARRAY_SIZE(kept); i++) {
        put(kept[i][0], 0xffffffff);
        assert_int_equal(get(kept[i][0]), kept[i][1]);
    }
    put(APIC_DFR, 0);
    assert_int_equal(get(APIC_DFR), 0x0fffffff);
    put(APIC_ICR, 0xffffffff);
    assert_int_equal(get(APIC_ICR), 0xccfff);
}

/* SDM 3A 10.12.5 "x2APIC State Transitions" */
static void test_base_transitions(void **state)
{
    (void)state;
    const u64 at = APIC_ADDRESS, bsp = APIC_BASE_BSP, en = APIC_BASE_EN, extd = APIC_BASE_EXTD;

    assert_false(vlapic_write_base(&apic, at | bsp | extd)); /* invalid state */
    assert_false(vlapic_write_base(&apic, at | en | 0x200)); /* reserved */
    assert_false(vlapic_write_base(&apic, at | en | 1));
    assert_false(vlapic_write_base(&apic, at | en | 1ull << 36));
    assert_int_equal(apic.base, at | bsp | en);
    enable();
    vlapic_accept(&apic, 0x77, false);
    assert_true(vlapic_write_base(&apic, at | bsp | en | extd));
    assert_int_equal(vlapic_pending(&apic), 0x77); /* all but the IDs is kept */
    assert_int_equal(rdmsr(0x802), 3);
    assert_int_equal(rdmsr(0x80d), 0x8);
    assert_int_equal(vlapic_read(&apic, APIC_ID, 4), 0xffffffff); /* no memory interface any more */
    vlapic_write(&apic, APIC_TPR, 4, 0xff);
    assert_int_equal(rdmsr(0x808), 0);
    assert_false(vlapic_write_base(&apic, at | bsp | en));
    assert_true(vlapic_write_base(&apic, at | bsp | en | extd));
    assert_true(vlapic_write_base(&apic, at | bsp));
    assert_int_equal(vlapic_pending(&apic), -1);
    assert_false(reads(0x802));
    assert_false(vlapic_accept(&apic, 0x77, false));
    assert_false(vlapic_write_base(&apic, at | bsp | en | extd)); /* only by way of xAPIC mode */
    assert_true(vlapic_write_base(&apic, at | bsp | en));
    assert_int_equal(get(APIC_ID), 0x03000000);
    assert_int_equal(get(APIC_SVR), 0xff); /* as after power-up */
    apic.setup.x2apic = false;
    assert_false(vlapic_write_base(&apic, at | bsp | en | extd));
}

static void test_x2apic_registers(void **state)
{
    (void)state;
    assert_false(wrmsr(0x808, 0)); /* not in xAPIC mode */
    assert_true(vlapic_write_base(&apic, X2APIC_ON));
    static const u16 read_only[] = {0x802, 0x803, 0x80a, 0x80d, 0x810, 0x827, 0x839};
    for (unsigned i = 0; i < ARRAY_SIZE(read_only); i++) {
        assert_true(reads(read_only[i]));
        assert_false(wrmsr(read_only[i], 0));
    }
    static const u16 absent[] = {0x800, 0x809, 0x80c, 0x80e, 0x82f, 0x831, 0x83a, 0x840, 0x8ff};
    for (unsigned i = 0; i < ARRAY_SIZE(absent); i++) {
        assert_false(reads(absent[i]));
        assert_false(wrmsr(absent[i], 0));
    }
    assert_false(reads(0x80b));
    assert_false(reads(0x83f));
    assert_false(wrmsr(0x80b, 1));
    assert_true(wrmsr(0x80b, 0));
    assert_false(wrmsr(0x828, 1));
    assert_true(wrmsr(0x828, 0));
    assert_false(wrmsr(0x808, 0x100));
    assert_false(wrmsr(0x808, 1ull << 32));
    assert_false(wrmsr(0x80f, 0x400));
    assert_false(wrmsr(0x832, 0x80000));
    assert_false(wrmsr(0x83e, 4));
    assert_false(wrmsr(0x837, 0x400));
    assert_false(wrmsr(0x830, 0x2000));
    assert_false(wrmsr(0x830, 0x100000));
    assert_false(wrmsr(0x83f, 0x100));
    assert_true(wrmsr(0x80f, 0x1ff));
    assert_true(wrmsr(0x83f, 0x61));
    assert_int_equal(vlapic_acknowledge(&apic), 0x61);
    assert_true(wrmsr(0x80b, 0));
    assert_true(wrmsr(0x83f, 0x05));
    assert_int_equal(apic.errors, 0x60);
    assert_true(wrmsr(0x835, 0x15700)); /* delivery status and remote IRR are read-only, not reserved */
    assert_int_equal(rdmsr(0x835), 0x10700);
}

static void test_lint_virtual_wire(void **state)
{
    (void)state;
    set_lint0(true);
    assert_false(vlapic_extint(&apic));
    vlapic_set_virtual_wire(&apic);
    assert_true(vlapic_extint(&apic));
    assert_int_equal(notices, 1);
    set_lint0(false);
    assert_false(vlapic_extint(&apic));
    vlapic_set_lint1(&apic, true);
    vlapic_set_lint1(&apic, true);
    assert_int_equal(nmis, 1);
    vlapic_set_lint1(&apic, false);
    put(APIC_LVT_LINT1, 0x10400);
    vlapic_set_lint1(&apic, true);
    assert_int_equal(nmis, 1);
    put(APIC_LVT_LINT0, 0x10700);
    set_lint0(true);
    assert_false(vlapic_extint(&apic));
    assert_true(vlapic_write_base(&apic, APIC_ADDRESS)); /* no APIC: the pins are INTR and NMI */
    assert_true(vlapic_extint(&apic));
    vlapic_handle_init(&apic);
    assert_true(vlapic_extint(&apic));
    vlapic_set_lint1(&apic, false);
    vlapic_set_lint1(&apic, true);
    assert_int_equal(nmis, 2);
}

static void test_lint_fixed(void **state)
{
    (void)state;
    enable();
    put(APIC_LVT_LINT0, 0x34); /* by edges */
    set_lint0(true);
    assert_int_equal(vlapic_acknowledge(&apic), 0x34);
    put(APIC_EOI, 0);
    assert_int_equal(vlapic_pending(&apic), -1);
    put(APIC_LVT_LINT0, 0x8034); /* by level: it is high */
    assert_int_equal(vlapic_acknowledge(&apic), 0x34);
    assert_int_equal(get(APIC_LVT_LINT0), 0xc034);
    put(APIC_LVT_LINT0, 0x8034);
    assert_int_equal(get(APIC_LVT_LINT0), 0xc034); /* remote IRR is read-only */
    assert_int_equal(get(APIC_IRR + 0x10), 0);
    assert_int_equal(vlapic_pending(&apic), -1);
    put(APIC_EOI, 0);
    assert_int_equal(vlapic_acknowledge(&apic), 0x34);
    set_lint0(false);
    put(APIC_EOI, 0);
    assert_int_equal(vlapic_pending(&apic), -1);
    assert_int_equal(get(APIC_LVT_LINT0), 0x8034);
}

static void send(u32 high, u32 low)
{
    ipis = 0;
    put(APIC_ICR_HIGH, high);
    put(APIC_ICR, low);
}

/* SDM 3A 10.6.1 "Interrupt Command Register (ICR)" */
static void test_ipi_xapic(void **state)
{
    (void)state;
    enable();
    send(0x05000000, 0x4044);
    assert_int_equal(ipis, 1);
    assert_int_equal(last_ipi.destination, 5);
    assert_int_equal(last_ipi.vector, 0x44);
    assert_int_equal(last_ipi.delivery, APIC_FIXED);
    assert_int_equal(last_ipi.shorthand, VLAPIC_TO_DESTINATION);
    assert_false(last_ipi.logical);
    assert_int_equal(get(APIC_ICR), 0x4044); /* never busy */
    send(0xff000000, 0x4944);
    assert_int_equal(last_ipi.destination, VLAPIC_BROADCAST);
    assert_int_equal(last_ipi.delivery, APIC_LOWEST_PRIORITY);
    assert_true(last_ipi.logical);
    send(0, 0xc4500); /* INIT to all others */
    assert_int_equal(last_ipi.delivery, APIC_INIT);
    assert_int_equal(last_ipi.shorthand, VLAPIC_TO_OTHERS);
    send(0x01000000, 0x8500); /* INIT level de-assert: for nobody */
    assert_int_equal(ipis, 0);
    send(0x01000000, 0x4699);
    assert_int_equal(last_ipi.delivery, APIC_SIPI);
    assert_int_equal(last_ipi.vector, 0x99);
    send(0x01000000, 0x4400);
    assert_int_equal(last_ipi.delivery, APIC_NMI);
    send(0x01000000, 0x4200); /* SMI, reserved, ExtINT */
    assert_int_equal(ipis, 0);
    send(0x01000000, 0x4300);
    assert_int_equal(ipis, 0);
    send(0x01000000, 0x4700);
    assert_int_equal(ipis, 0);
    send(0, 0x84400); /* NMI to all including self: no valid combination */
    send(0, 0x44500);
    send(0, 0x44161);
    assert_int_equal(ipis, 0);
    assert_int_equal(vlapic_pending(&apic), -1);
    send(0, 0x84061);
    assert_int_equal(ipis, 1);
    assert_int_equal(last_ipi.shorthand, VLAPIC_TO_ALL);
    send(0, 0x4c061); /* self, "level": an edge all the same */
    assert_int_equal(ipis, 0);
    assert_int_equal(vlapic_acknowledge(&apic), 0x61);
    put(APIC_EOI, 0);
    assert_int_equal(ends, 0);
    assert_int_equal(errors(), 0);
}

static void test_ipi_x2apic(void **state)
{
    (void)state;
    assert_true(vlapic_write_base(&apic, X2APIC_ON));
    assert_true(wrmsr(0x830, 0x0001000200000844));
    assert_int_equal(ipis, 1);
    assert_int_equal(last_ipi.destination, 0x00010002);
    assert_true(last_ipi.logical);
    assert_int_equal(rdmsr(0x830), 0x0001000200000844);
    assert_true(wrmsr(0x830, 0x000000ff00000044));
    assert_int_equal(last_ipi.destination, 0xff); /* an id, not a broadcast */
    assert_true(wrmsr(0x830, 0xffffffff00000044));
    assert_int_equal(last_ipi.destination, VLAPIC_BROADCAST);
}

/* SDM 3A 10.6.2 "Determining IPI Destination" */
static void test_matches(void **state)
{
    (void)state;
    assert_true(vlapic_matches(&apic, 3, false));
    assert_false(vlapic_matches(&apic, 2, false));
    assert_false(vlapic_matches(&apic, 0x103, false));
    assert_true(vlapic_matches(&apic, VLAPIC_BROADCAST, false));
    assert_true(vlapic_matches(&apic, VLAPIC_BROADCAST, true));
    put(APIC_LDR, 0x24000000);
    assert_true(vlapic_matches(&apic, 0x04, true)); /* flat: any common bit */
    assert_true(vlapic_matches(&apic, 0x20, true));
    assert_false(vlapic_matches(&apic, 0xdb, true));
    put(APIC_DFR, 0x0fffffff);
    assert_true(vlapic_matches(&apic, 0x2c, true)); /* cluster 2, members 4 and 8 */
    assert_false(vlapic_matches(&apic, 0x14, true));
    assert_false(vlapic_matches(&apic, 0x2b, true));
    put(APIC_DFR, 0x4fffffff);
    assert_false(vlapic_matches(&apic, 0x24, true));
    assert_true(vlapic_write_base(&other, X2APIC_ON)); /* id 0x12: cluster 1, bit 2 */
    assert_true(vlapic_matches(&other, 0x00010006, true));
    assert_false(vlapic_matches(&other, 0x00010003, true));
    assert_false(vlapic_matches(&other, 0x00020004, true));
    assert_true(vlapic_matches(&other, 0x12, false));
    assert_true(vlapic_write_base(&other, APIC_ADDRESS));
    assert_false(vlapic_matches(&other, VLAPIC_BROADCAST, false));
}

static void test_receives(void **state)
{
    (void)state;
    struct vlapic_ipi ipi = {.shorthand = VLAPIC_TO_OTHERS};
    assert_false(vlapic_receives(&apic, &apic, &ipi));
    assert_true(vlapic_receives(&other, &apic, &ipi));
    ipi.shorthand = VLAPIC_TO_ALL;
    assert_true(vlapic_receives(&apic, &apic, &ipi));
    assert_true(vlapic_receives(&other, &apic, &ipi));
    ipi = (struct vlapic_ipi){.destination = 0x12};
    assert_false(vlapic_receives(&apic, &apic, &ipi));
    assert_true(vlapic_receives(&other, &apic, &ipi));
}

static void test_init(void **state)
{
    (void)state;
    assert_true(vlapic_write_base(&apic, X2APIC_ON));
    assert_true(wrmsr(0x80f, 0x1ff));
    assert_true(wrmsr(0x832, 0x20));
    assert_true(wrmsr(0x838, 1000));
    vlapic_accept(&apic, 0x50, false);
    vlapic_acknowledge(&apic);
    vlapic_accept(&apic, 0x60, false);
    vlapic_handle_init(&apic);
    assert_int_equal(apic.base, X2APIC_ON);
    assert_int_equal(rdmsr(0x802), 3);
    assert_int_equal(rdmsr(0x80f), 0xff);
    assert_int_equal(rdmsr(0x80a), 0);
    assert_int_equal(vlapic_pending(&apic), -1);
    bench_run_until(SECOND_NS);
    assert_int_equal(vlapic_pending(&apic), -1);
}

/* The CPU delivers: as vlapic_init() with `posted`. */
static void start_virtual(void)
{
    struct vlapic_setup setup = apic.setup;

    memset(&posted, 0, sizeof posted);
    setup.posted = &posted;
    bench_start();
    vlapic_init(&apic, &setup);
    assert_false(apic.virtual_delivery); /* it is disabled by SVR */
    enable();
    assert_true(apic.virtual_delivery && posted.news & POSTED_STALE);
    notices = ends = 0;
}

/* With virtual-interrupt delivery the page is the CPU's, and the model only puts requests in. */
static void test_virtual_delivery(void **state)
{
    (void)state;
    start_virtual();
    assert_true(vlapic_accept(&apic, 0x50, false));
    assert_true(vlapic_accept(&apic, 0xc0, true));
    assert_int_equal(notices, 2);
    assert_int_equal(vlapic_pending(&apic), -1);
    assert_int_equal(get(APIC_IRR + 0x20), 0);
    assert_true(posted.vectors[1] == BIT(0x50 - 0x40) && posted.level[3] == BIT(0) && !posted.vectors[3]);
    assert_true(posted_news(&posted));
    assert_int_equal(get(APIC_TMR + 0x60), 1);
    assert_int_equal(get(APIC_TMR + 0x20), 0);
}

/* What waits is above TPR and what is in service, be it posted or in the page. */
static void test_virtual_waiting(void **state)
{
    (void)state;
    start_virtual();
    assert_false(vlapic_is_waiting(&apic));
    vlapic_accept(&apic, 0x5f, false);
    assert_true(vlapic_is_waiting(&apic));
    put(APIC_TPR, 0x50);
    assert_false(vlapic_is_waiting(&apic));
    put(APIC_TPR, 0x4f);
    assert_true(vlapic_is_waiting(&apic));
    posted.vectors[1] = 0;
    *vlapic_register(&apic, APIC_IRR + 0x30) = 1; /* 0x60 */
    put(APIC_TPR, 0x5f);
    assert_true(vlapic_is_waiting(&apic));
    *vlapic_register(&apic, APIC_ISR + 0x30) = 2; /* 0x61 */
    put(APIC_TPR, 0);
    assert_int_equal(get(APIC_PPR), 0x60);
    assert_false(vlapic_is_waiting(&apic));
}

/* An EOI that the CPU left to us: an instruction that it does not virtualise. */
static void test_virtual_eoi_in_software(void **state)
{
    (void)state;
    start_virtual();
    *vlapic_register(&apic, APIC_ISR + 0x20) = 1;       /* 0x40 */
    *vlapic_register(&apic, APIC_ISR + 0x60) = 1u << 5; /* 0xc5 */
    *vlapic_register(&apic, APIC_TMR + 0x60) = 1u << 5;
    posted.news = 0;
    put(APIC_EOI, 0);
    assert_int_equal(get(APIC_ISR + 0x60), 0);
    assert_int_equal(get(APIC_ISR + 0x20), 1);
    assert_int_equal(get(APIC_PPR), 0x40);
    assert_int_equal(ends, 1);
    assert_true(posted.news & POSTED_STALE && notices > 0);
}

/* Who delivers follows the mode, and nothing is lost on the way from one to the other. */
static void test_virtual_delivery_follows_the_mode(void **state)
{
    (void)state;
    start_virtual();
    vlapic_accept(&apic, 0x70, false);
    *vlapic_register(&apic, APIC_IRR + 0x10) = 1; /* 0x20, requested and not delivered */
    assert_true(vlapic_write_base(&apic, 0xfec0b000 | APIC_BASE_EN | APIC_BASE_BSP)); /* moved */
    assert_false(apic.virtual_delivery);
    assert_false(posted.vectors[1]);
    assert_int_equal(vlapic_pending(&apic), 0x70);
    assert_int_equal(vlapic_acknowledge(&apic), 0x70);
    vlapic_end_interrupt(&apic);
    assert_int_equal(vlapic_pending(&apic), 0x20);

    assert_true(vlapic_write_base(&apic, APIC_ADDRESS | APIC_BASE_EN | APIC_BASE_BSP));
    assert_true(apic.virtual_delivery && posted.news & POSTED_STALE);
    assert_int_equal(vlapic_pending(&apic), -1);
    assert_true(vlapic_is_waiting(&apic));
    assert_true(vlapic_write_base(&apic, APIC_ADDRESS | APIC_BASE_MODE | APIC_BASE_BSP));
    assert_true(apic.virtual_delivery && vlapic_is_waiting(&apic));
    vlapic_accept(&apic, 0x71, false);
    assert_true(wrmsr(0x80f, 0xff)); /* disabled by SVR: the CPU would take self-IPIs all the same */
    assert_false(apic.virtual_delivery || posted.vectors[1]);
    assert_int_equal(vlapic_pending(&apic), 0x71);
    assert_true(wrmsr(0x80f, 0x1ff));
    assert_true(apic.virtual_delivery && vlapic_is_waiting(&apic));
    vlapic_accept(&apic, 0x72, false);
    posted.news = notices = 0;
    assert_true(vlapic_write_base(&apic, APIC_ADDRESS | APIC_BASE_BSP)); /* off: a reset */
    assert_false(apic.virtual_delivery);
    assert_true(posted.news & POSTED_STALE && notices > 0);
    assert_false(posted.vectors[1]);
    assert_int_equal(vlapic_pending(&apic), -1);
}

/* The CPU has written the register before we hear of it: what the old value meant must not depend on the page. */
static void write_as_cpu(u32 offset, u32 value)
{
    *vlapic_register(&apic, offset) = value;
    vlapic_written(&apic, offset);
}

static void test_registers_written_by_the_cpu(void **state)
{
    (void)state;
    start_virtual();
    write_as_cpu(APIC_ID, 0x77000000);
    assert_int_equal(get(APIC_ID), 3u << 24);
    write_as_cpu(APIC_LVT_TIMER, 0xfff800ee); /* masked; reserved bits; nothing but the mask and the vector stay */
    write_as_cpu(APIC_LVT_TIMER, APIC_LVT_PERIODIC | 0x30);
    assert_int_equal(get(APIC_LVT_TIMER), APIC_LVT_PERIODIC | 0x30);
    write_as_cpu(APIC_TIMER_DIVIDE, 0xb);
    write_as_cpu(APIC_TIMER_INITIAL, 50000);
    bench_run_until(10000);
    assert_int_equal(get(APIC_TIMER_CURRENT), 40000);
    write_as_cpu(APIC_TIMER_DIVIDE, 0); /* by 2: what is left counts on */
    assert_int_equal(get(APIC_TIMER_CURRENT), 40000);
    bench_run_until(90000);
    assert_true(posted.vectors[0] == BIT(0x30));
    write_as_cpu(APIC_LVT_TIMER, APIC_LVT_TSC_DEADLINE | 0x30); /* another mode: the count stops */
    assert_int_equal(get(APIC_TIMER_INITIAL), 0);
    write_as_cpu(APIC_TIMER_INITIAL, 5); /* no effect in this mode */
    assert_int_equal(get(APIC_TIMER_INITIAL), 0);
    write_as_cpu(APIC_ICR_HIGH, 0);
    ipis = 0;
    write_as_cpu(APIC_ICR, 0xc0041); /* to all others */
    assert_int_equal(ipis, 1);
    vlapic_accept(&apic, 5, false); /* an error: reserved vector */
    write_as_cpu(APIC_ESR, 0xffffffff);
    assert_int_equal(get(APIC_ESR), 0x40);

    write_as_cpu(APIC_LVT_LINT0, 0x8044); /* level-triggered, remote IRR is not the guest's to write */
    set_lint0(true);
    assert_int_equal(get(APIC_LVT_LINT0), 0xc044);
    write_as_cpu(APIC_LVT_LINT0, 0x8045);
    assert_int_equal(get(APIC_LVT_LINT0), 0xc045);
    intr = false;
    vlapic_end_level(&apic, 0x45);
    assert_int_equal(get(APIC_LVT_LINT0), 0x8045);

    assert_true(vlapic_write_base(&apic, APIC_ADDRESS | APIC_BASE_MODE | APIC_BASE_BSP));
    *vlapic_register(&apic, APIC_SELF_IPI) = 3;
    vlapic_written(&apic, APIC_SELF_IPI);
    assert_true(wrmsr(0x828, 0));
    assert_int_equal(rdmsr(0x828), 0x60);
}

static void test_init_forgets_what_was_posted(void **state)
{
    (void)state;
    start_virtual();
    vlapic_accept(&apic, 0x99, false);
    vlapic_handle_init(&apic);
    assert_false(posted.vectors[2]);
    assert_true(posted.news & POSTED_STALE && !apic.virtual_delivery);
}

static void test_timer_one_shot(void **state)
{
    (void)state;
    enable();
    put(APIC_TIMER_DIVIDE, 0x3); /* by 16 */
    put(APIC_LVT_TIMER, 0x30);
    bench_run_until(5);
    put(APIC_TIMER_INITIAL, 1000);
    assert_int_equal(get(APIC_TIMER_CURRENT), 1000);
    bench_run_until(5 + 15);
    assert_int_equal(get(APIC_TIMER_CURRENT), 1000);
    bench_run_until(5 + 16);
    assert_int_equal(get(APIC_TIMER_CURRENT), 999);
    bench_run_until(5 + 16000 - 1);
    assert_int_equal(get(APIC_TIMER_CURRENT), 1);
    assert_int_equal(vlapic_pending(&apic), -1);
    bench_run_until(5 + 16000);
    assert_int_equal(vlapic_acknowledge(&apic), 0x30);
    put(APIC_EOI, 0);
    assert_int_equal(get(APIC_TIMER_CURRENT), 0);
    bench_run_until(SECOND_NS);
    assert_int_equal(vlapic_pending(&apic), -1);
    put(APIC_TIMER_INITIAL, 5);
    put(APIC_TIMER_INITIAL, 0);
    bench_run_until(2 * SECOND_NS);
    assert_int_equal(vlapic_pending(&apic), -1);
    assert_int_equal(bench.timers.next_ns, VTIMER_NEVER);
}

static void test_timer_divides(void **state)
{
    (void)state;
    static const u8 divide[8][2] = {
        {0,  2  },
        {1,  4  },
        {2,  8  },
        {3,  16 },
        {8,  32 },
        {9,  64 },
        {10, 128},
        {11, 1  }
    };
    enable();
    put(APIC_LVT_TIMER, 0x30);
    for (unsigned i = 0; i < 8; i++) {
        put(APIC_TIMER_DIVIDE, divide[i][0]);
        put(APIC_TIMER_INITIAL, 0xffffffff);
        assert_true(bench.timers.next_ns == bench.now_ns + 0xffffffffull * divide[i][1]);
    }
    put(APIC_TIMER_DIVIDE, 0xb);
    put(APIC_TIMER_INITIAL, 1000);
    bench_run_until(bench.now_ns + 400);
    put(APIC_TIMER_DIVIDE, 0); /* 600 are left, at half the speed */
    assert_int_equal(get(APIC_TIMER_CURRENT), 600);
    assert_true(bench.timers.next_ns == bench.now_ns + 1200);
}

static void test_timer_periodic(void **state)
{
    (void)state;
    enable();
    put(APIC_TIMER_DIVIDE, 0xb);
    put(APIC_LVT_TIMER, 0x20030);
    put(APIC_TIMER_INITIAL, 1000000);
    for (unsigned n = 1; n <= 3; n++) {
        bench_run_until(n * 1000000 - 1);
        assert_int_equal(vlapic_pending(&apic), -1);
        bench_run_until(n * 1000000);
        assert_int_equal(vlapic_acknowledge(&apic), 0x30);
        put(APIC_EOI, 0);
        assert_int_equal(get(APIC_TIMER_CURRENT), 1000000);
    }
    bench_jump_to(500500000); /* late by 497: one interrupt, and on along the same grid */
    assert_int_equal(vlapic_acknowledge(&apic), 0x30);
    put(APIC_EOI, 0);
    assert_int_equal(vlapic_pending(&apic), -1);
    assert_int_equal(get(APIC_TIMER_CURRENT), 500000);
    assert_true(bench.timers.next_ns == 501000000);
    put(APIC_LVT_TIMER, 0x30030); /* masked: it runs on, and no host timer with it */
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
    bench_run_until(600250000);
    assert_int_equal(get(APIC_TIMER_CURRENT), 750000);
    put(APIC_LVT_TIMER, 0x20030);
    assert_int_equal(vlapic_pending(&apic), -1);
    assert_true(bench.timers.next_ns == 601000000);
}

static void test_timer_short_period(void **state)
{
    (void)state;
    enable();
    put(APIC_TIMER_DIVIDE, 0xb);
    put(APIC_LVT_TIMER, 0x20030);
    put(APIC_TIMER_INITIAL, 3);
    bench_run_until(3);
    assert_true(bench.timers.next_ns >= VLAPIC_TIMER_MIN_PERIOD_NS);
    assert_int_equal(bench.timers.next_ns % 3, 0);
    assert_in_range(get(APIC_TIMER_CURRENT), 1, 3);
    bench_run_until(SECOND_NS);
}

/*
 * Other clocks than 1 GHz: a count lasts as long as so many ticks, rounded up to a ns (from 1/1024 ns on), and reads
 * back as it was written as long as no tick has passed. The scales are made as those of kernel/clock.c.
 */
static void test_timer_clock(void **state)
{
    static const u64 rates[] = {50000000, 875000000, 693333333, 1000000, 24000000};
    static const u32 counts[] = {1, 2, 3, 7, 1000, 123457, 0x7fffffff, 0xffffffff};

    (void)state;
    put(APIC_SVR, 0x1ff);
    put(APIC_LVT_TIMER, 0x30);
    for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
        apic.setup.timer_ns_scale = (u64)(((unsigned __int128)1000000000 << 54) / rates[i]) + 1;
        apic.setup.timer_tick_scale = (u64)(((unsigned __int128)rates[i] << 60) / 1000000000) + 1;
        for (size_t j = 0; j < ARRAY_SIZE(counts); j++) {
            put(APIC_TIMER_DIVIDE, j % 2 ? 0xb : 0xa); /* by 1, by 128 */
            put(APIC_TIMER_INITIAL, counts[j]);
            unsigned __int128 ticks = (unsigned __int128)counts[j] * (j % 2 ? 1 : 128);
            u64 ns = (u64)((ticks * 1000000000 + rates[i] - 1) / rates[i]);
            assert_true(bench.timers.next_ns == bench.now_ns + ns);
            assert_int_equal(get(APIC_TIMER_CURRENT), counts[j]);
            bench_jump_to(bench.now_ns + ns - 1);
            assert_int_equal(get(APIC_TIMER_CURRENT), 1);
            bench_jump_to(bench.now_ns + 1);
            assert_int_equal(get(APIC_TIMER_CURRENT), 0);
            assert_int_equal(vlapic_acknowledge(&apic), 0x30);
            vlapic_end_interrupt(&apic);
        }
    }
}

static void test_timer_deadline(void **state)
{
    (void)state;
    enable();
    vlapic_timer_write_deadline(&apic, 5000); /* not in this mode */
    assert_int_equal(vlapic_timer_read_deadline(&apic), 0);
    put(APIC_LVT_TIMER, 0x400ec);
    put(APIC_TIMER_INITIAL, 1000); /* nor this one in that mode */
    assert_int_equal(get(APIC_TIMER_INITIAL), 0);
    vlapic_timer_write_deadline(&apic, 5001);
    assert_int_equal(vlapic_timer_read_deadline(&apic), 5001);
    assert_int_equal(get(APIC_TIMER_CURRENT), 0);
    bench_run_until(2000); /* TSC 5000 */
    assert_int_equal(vlapic_pending(&apic), -1);
    bench_run_until(2001);
    assert_int_equal(vlapic_acknowledge(&apic), 0xec);
    put(APIC_EOI, 0);
    assert_int_equal(vlapic_timer_read_deadline(&apic), 0);
    vlapic_timer_write_deadline(&apic, 10); /* long past */
    assert_true(bench.timers.next_ns <= bench.now_ns);
    bench_jump_to(bench.now_ns);
    assert_int_equal(vlapic_acknowledge(&apic), 0xec);
    put(APIC_EOI, 0);
    vlapic_timer_write_deadline(&apic, ~0ull);
    vlapic_timer_write_deadline(&apic, 0);
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
    vlapic_timer_write_deadline(&apic, 100000);
    put(APIC_LVT_TIMER, 0xec); /* leaving the mode disarms */
    assert_true(bench.timers.next_ns == VTIMER_NEVER);
    put(APIC_LVT_TIMER, 0x400ec);
    assert_int_equal(vlapic_timer_read_deadline(&apic), 0);
    put(APIC_LVT_TIMER, 0x500ec); /* masked: it expires in silence */
    vlapic_timer_write_deadline(&apic, 100000);
    bench_run_until(SECOND_NS);
    assert_int_equal(vlapic_timer_read_deadline(&apic), 0);
    assert_int_equal(vlapic_pending(&apic), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_power_up, start),
        cmocka_unit_test_setup(test_software_disabled, start),
        cmocka_unit_test_setup(test_priorities, start),
        cmocka_unit_test_setup(test_task_priority, start),
        cmocka_unit_test_setup(test_trigger_mode_and_broadcast, start),
        cmocka_unit_test_setup(test_every_vector, start),
        cmocka_unit_test_setup(test_errors, start),
        cmocka_unit_test_setup(test_xapic_access_sizes, start),
        cmocka_unit_test_setup(test_writable_bits, start),
        cmocka_unit_test_setup(test_base_transitions, start),
        cmocka_unit_test_setup(test_x2apic_registers, start),
        cmocka_unit_test_setup(test_lint_virtual_wire, start),
        cmocka_unit_test_setup(test_lint_fixed, start),
        cmocka_unit_test_setup(test_ipi_xapic, start),
        cmocka_unit_test_setup(test_ipi_x2apic, start),
        cmocka_unit_test_setup(test_matches, start),
        cmocka_unit_test_setup(test_receives, start),
        cmocka_unit_test_setup(test_init, start),
        cmocka_unit_test_setup(test_virtual_delivery, start),
        cmocka_unit_test_setup(test_virtual_waiting, start),
        cmocka_unit_test_setup(test_virtual_eoi_in_software, start),
        cmocka_unit_test_setup(test_virtual_delivery_follows_the_mode, start),
        cmocka_unit_test_setup(test_registers_written_by_the_cpu, start),
        cmocka_unit_test_setup(test_init_forgets_what_was_posted, start),
        cmocka_unit_test_setup(test_timer_one_shot, start),
        cmocka_unit_test_setup(test_timer_divides, start),
        cmocka_unit_test_setup(test_timer_periodic, start),
        cmocka_unit_test_setup(test_timer_short_period, start),
        cmocka_unit_test_setup(test_timer_clock, start),
        cmocka_unit_test_setup(test_timer_deadline, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
