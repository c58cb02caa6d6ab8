/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A copy of a PC's devices and local APIC goes on as the original would have: whatever a guest has done before, the two
 * give the same answers to whatever it does afterwards, at the same times. And nothing in the copy leads to the
 * original.
 *
 * links: drivers/virt/pc.c drivers/virt/pic.c drivers/virt/pit.c drivers/virt/uart.c drivers/virt/cmos.c
 * links: drivers/virt/i8042.c drivers/virt/power.c drivers/virt/crtc.c drivers/virt/pci.c kernel/vm/bus.c
 * kernel/vm/vtimer.c drivers/virt/pm.c drivers/virt/vioapic.c drivers/virt/vhpet.c drivers/virt/vlapic.c
 * drivers/virt/vlapic_requests.c drivers/virt/vlapic_timer.c
 */
#include "drivers/virt/pc.h"
#include "drivers/virt/vlapic.h"
#include "test/fake/device_bench.h"

#include <string.h>

#define TSC_PER_NS 2u

struct machine {
    struct bus bus;
    struct vtimer_set timers;
    u64 now_ns;
    struct pc_host host;
    struct pc pc;
    struct vlapic apic;
    struct posted_requests posted;
    struct intc intc;
    u64 digest; /* of all that it has said and answered */
    u8 page[VLAPIC_PAGE_BYTES] ALIGNED(4096);
};

static struct machine machines[2];

static void note(struct machine *m, u64 value)
{
    m->digest = (m->digest ^ value) * 0x9e3779b97f4a7c15ull;
    m->digest ^= m->digest >> 29;
}

static void console_put(void *context, u8 character)
{
    note(context, 0x100u + character);
}

static void request(void *context, enum pc_request what)
{
    note(context, 0x200u + (u64)what);
}

static void interrupt_raised(void *context)
{
    struct machine *m = context;

    note(m, 0x300);
    vlapic_raise_lint0(&m->apic);
}

static bool interrupt_message(void *context, const struct vioapic_message *message)
{
    struct machine *m = context;

    note(m, 0x400u + message->vector);
    return message->delivery == APIC_FIXED && vlapic_accept(&m->apic, message->vector, message->level);
}

static void apic_notify(void *context)
{
    (void)context; /* a copy is told once more to look */
}

static void apic_nmi(void *context)
{
    note(context, 0x600);
}

static void apic_ipi(void *context, const struct vlapic_ipi *ipi)
{
    note(context, 0x700u + ipi->vector);
}

static void apic_eoi(void *context, u8 vector)
{
    struct machine *m = context;

    note(m, 0x800u + vector);
    pc_end_interrupt(&m->pc, vector);
}

static u64 ns_of_tsc(void *context, u64 tsc)
{
    (void)context;
    return (tsc + TSC_PER_NS - 1) / TSC_PER_NS;
}

static const struct vlapic_host apic_host = {apic_notify, apic_notify, apic_nmi, apic_ipi, apic_eoi, ns_of_tsc};

static int console_get(void *context)
{
    struct machine *m = context;
    return m->now_ns % 7 == 0 ? (int)(m->now_ns & 0x7f) : -1;
}

static u64 clock_of(void *clock)
{
    const struct machine *m = clock;
    return m->now_ns;
}

static void make(struct machine *m, bool posted)
{
    memset(m, 0, sizeof *m);
    bus_init(&m->bus);
    vtimer_set_init(&m->timers, clock_of, m);
    m->host = (struct pc_host){m, console_put, request, interrupt_raised, interrupt_message, console_get};
    m->intc = pc_interrupt_controller(&m->pc);
    const struct vlapic_setup setup = {
        .host = &apic_host,
        .context = m,
        .page = m->page,
        .intr = m->intc.pending,
        .timers = &m->timers,
        .physical_bits = 40,
        .boot = true,
        .x2apic = true,
        .posted = posted ? &m->posted : NULL,
    };
    vlapic_init(&m->apic, &setup);
    vlapic_set_virtual_wire(&m->apic);
    assert_int_equal(pc_init(&m->pc, &m->host, &m->bus, &m->timers, 1700000000, 64 << 20), STATUS_OK);
}

/* ---- what a guest does: the same to each machine for the same numbers ---- */

static const u16 ports[] = {0x20,  0x21,  0xa0,  0xa1,  0x40,  0x42,  0x43,  0x60,  0x61,  0x64,  0x70,  0x71,
                            0x80,  0x92,  0x3b4, 0x3c0, 0x3c8, 0x3c9, 0x3d4, 0x3d5, 0x3f8, 0x3f9, 0x3fa, 0x3fb,
                            0x3fc, 0x3fd, 0x4d0, 0x4d1, 0x600, 0x602, 0x604, 0x608, 0xcf8, 0xcfc, 0x8900};
static const u16 apic_offsets[] = {0x80, 0xb0, 0xd0, 0xf0, 0x280, 0x300, 0x320, 0x350, 0x360, 0x380, 0x390, 0x3e0};

static void run_until(struct machine *m, u64 ns)
{
    while (m->timers.next_ns <= ns) {
        m->now_ns = m->timers.next_ns;
        note(m, m->now_ns);
        vtimer_run(&m->timers, m->now_ns);
    }
    m->now_ns = ns;
}

static void use_memory(struct machine *m, unsigned what, unsigned a, unsigned b)
{
    static const u32 hpet_offsets[] = {0x0, 0x10, 0x20, 0xf0, 0x100, 0x108, 0x120, 0x128, 0x140, 0x148};

    if (what == 0) {
        bus_write_memory(&m->bus, gpa(0xfec00000), 4, a % 0x40);
        bus_write_memory(&m->bus, gpa(0xfec00010), 4, b & 0x1a0ff);
        note(m, bus_read_memory(&m->bus, gpa(0xfec00010), 4));
    } else if (what == 1) {
        u32 at = hpet_offsets[a % ARRAY_SIZE(hpet_offsets)];
        bus_write_memory(&m->bus, gpa(0xfed00000 + at), 8, at == 0x108 ? b | 0x4000 : b & 0xffff);
        note(m, bus_read_memory(&m->bus, gpa(0xfed00000 + at), 8));
    } else {
        u32 at = apic_offsets[a % ARRAY_SIZE(apic_offsets)];
        vlapic_write(&m->apic, at, 4, at == 0x380 ? b | 0x4000 : at == 0xf0 ? b | 0x100 : b & 0x600ff);
        note(m, vlapic_read(&m->apic, at, 4));
    }
}

static void do_step(struct machine *m, unsigned what, unsigned a, unsigned b, u64 ns)
{
    switch (what % 8) {
    case 0:
    case 1:
        bus_write_port(&m->bus, ports[a % ARRAY_SIZE(ports)], 1, (u8)b);
        break;
    case 2:
        note(m, bus_read_port(&m->bus, ports[a % ARRAY_SIZE(ports)], 1));
        break;
    case 3:
        run_until(m, m->now_ns + ns % 3000000);
        break;
    case 4:
        if (*m->intc.pending)
            note(m, m->intc.acknowledge(m->intc.device));
        break;
    case 5:
        if (vlapic_pending(&m->apic) >= 0)
            note(m, vlapic_acknowledge(&m->apic));
        break;
    case 6:
        pc_take_input(&m->pc);
        note(m, m->apic.virtual_delivery ? posted_look(&m->posted, a % 4) : 0);
        break;
    default:
        use_memory(m, what / 8 % 3, a, b);
    }
    note(m, m->timers.next_ns);
    note(m, (u64)*m->intc.pending << 1 | m->apic.extint);
    note(m, (u64)(u16)m->apic.pending);
}

static void do_steps(u32 count, struct machine *one, struct machine *other)
{
    for (u32 i = 0; i < count; i++) {
        unsigned what = (unsigned)rand(), a = (unsigned)rand(), b = (unsigned)rand(), ns = (unsigned)rand();
        do_step(one, what, a, b, ns);
        if (!other)
            continue;
        do_step(other, what, a, b, ns);
        assert_int_equal(one->digest, other->digest);
    }
}

/* No aligned word of the copy is an address in the original. */
static void assert_leads_nowhere(const struct machine *copy, const struct machine *original)
{
    for (size_t at = 0; at + 8 <= sizeof *copy; at += 8) {
        uintptr_t word;
        memcpy(&word, (const u8 *)copy + at, sizeof word);
        assert_false(word >= (uintptr_t)original && word < (uintptr_t)(original + 1));
    }
}

static void copy(struct machine *to, struct machine *from)
{
    u64 deadlines[VTIMER_MAX];

    vlapic_settle(&from->apic);
    vtimer_save(&from->timers, deadlines);
    to->now_ns = from->now_ns;
    to->digest = from->digest;
    pc_copy(&to->pc, &from->pc);
    vlapic_copy(&to->apic, &from->apic, from->page);
    vtimer_load(&to->timers, deadlines);
}

static void test_a_copy_goes_on_alike(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 400; seed++) {
        srand(seed);
        bool posted = seed % 3 == 0;
        make(&machines[0], posted);
        make(&machines[1], posted);
        do_steps(400, &machines[0], NULL);
        do_steps(seed % 2 ? 200 : 0, &machines[1], NULL); /* what it had been before does not matter */
        copy(&machines[1], &machines[0]);
        assert_leads_nowhere(&machines[1], &machines[0]);
        do_steps(400, &machines[0], &machines[1]);
    }
}

/* A snapshot of a VM whose CPU delivers may go on where software does: what was requested is delivered all the same. */
static void test_a_copy_without_posting(void **state)
{
    (void)state;
    make(&machines[0], true);
    make(&machines[1], false);
    assert_true(machines[0].apic.virtual_delivery);
    assert_true(vlapic_accept(&machines[0].apic, 0x51, false));
    copy(&machines[1], &machines[0]);
    assert_false(machines[1].apic.virtual_delivery);
    assert_int_equal(vlapic_pending(&machines[1].apic), 0x51);
    assert_true(vlapic_accept(&machines[1].apic, 0x61, false));
    assert_int_equal(vlapic_acknowledge(&machines[1].apic), 0x61);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_copy_without_posting),
        cmocka_unit_test(test_a_copy_goes_on_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
