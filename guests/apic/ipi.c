/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interprocessor interrupts: who gets one, by each shorthand and destination mode, how often, and who does not.
 * SDM 3A 10.6 "Issuing Interprocessor Interrupts".
 */
#include "guests/apic/apic.h"

#define VECTOR 0x51u

/* Each vCPU whose bit is set in `mask` got `vector` once since the last clear_log(), the others nothing. */
static void need_at(u32 mask, u32 vector, const char *what)
{
    for (u32 cpu = 0; cpu < cpu_count; cpu++)
        if (mask >> cpu & 1)
            need(wait_for(&cpus[cpu].count[vector], 1), "%s: nothing at vCPU %u", what, cpu);
    barrier();
    for (u32 cpu = 0; cpu < cpu_count; cpu++)
        need(cpus[cpu].order_length == (mask >> cpu & 1), "%s: %u at vCPU %u, first %x", what, cpus[cpu].order_length,
             cpu, cpus[cpu].order[0]);
    clear_log();
}

static u32 all(void)
{
    return (1u << cpu_count) - 1;
}

static u32 broadcast(void)
{
    return x2apic ? 0xffffffff : 0xff;
}

static void check_self(void)
{
    apic_send(0, TO_SELF | VECTOR);
    need_at(1, VECTOR, "shorthand self");
    apic_send(0, VECTOR);
    need_at(1, VECTOR, "own ID");
    if (x2apic) {
        msr_write(MSR_X2APIC + APIC_SELF_IPI / 16, VECTOR);
        need_at(1, VECTOR, "SELF IPI");
    }
    for (u32 vector = 0x30; vector < 0xff; vector += 9) {
        apic_send(0, TO_SELF | vector);
        need_at(1, vector, "any vector");
    }
}

static void check_one(void)
{
    for (u32 cpu = 1; cpu < cpu_count; cpu++) {
        apic_send(cpu, VECTOR + cpu);
        need_at(1u << cpu, VECTOR + cpu, "by ID");
    }
}

static void send_to_boot(void)
{
    apic_send(0, VECTOR + cpu_index());
}

static void check_from_others(void)
{
    for (u32 cpu = 1; cpu < cpu_count; cpu++) {
        run_on(cpu, send_to_boot);
        need_at(1, VECTOR + cpu, "to the boot vCPU");
    }
}

static void check_shorthands(void)
{
    apic_send(0, TO_ALL | VECTOR);
    need_at(all(), VECTOR, "all");
    apic_send(0, TO_OTHERS | VECTOR);
    need_at(all() & ~1u, VECTOR, "all but self");
    apic_send(broadcast(), VECTOR);
    need_at(all(), VECTOR, "broadcast ID");
    apic_send(broadcast(), ICR_LOGICAL | VECTOR);
    need_at(all(), VECTOR, "logical broadcast");
}

static void set_flat(void)
{
    apic_write(APIC_DFR, 0xffffffff);
    apic_write(APIC_LDR, 1u << cpu_index() << 24);
}

static void check_logical_flat(void)
{
    run_on_all(set_flat);
    for (u32 mask = 1; mask <= all(); mask++) {
        apic_send(mask, ICR_LOGICAL | VECTOR);
        need_at(mask, VECTOR, "flat");
    }
    apic_send(0xf0, ICR_LOGICAL | VECTOR);
    need_at(0, VECTOR, "flat, nobody's bits");
    apic_send(0xf1, ICR_LOGICAL | VECTOR);
    need_at(1, VECTOR, "flat, F1");
}

/* Two vCPUs in each cluster. */
static void set_cluster(void)
{
    u32 cpu = cpu_index();
    apic_write(APIC_DFR, 0x0fffffff);
    apic_write(APIC_LDR, ((cpu / 2 + 1) << 4 | 1u << cpu % 2) << 24);
}

static void check_logical_cluster(void)
{
    run_on_all(set_cluster);
    for (u32 cpu = 0; cpu < cpu_count; cpu++) {
        apic_send((cpu / 2 + 1) << 4 | 1u << cpu % 2, ICR_LOGICAL | VECTOR);
        need_at(1u << cpu, VECTOR, "cluster, one");
    }
    apic_send(0x1f, ICR_LOGICAL | VECTOR);
    need_at(all() & 3, VECTOR, "cluster 1");
    apic_send(0x2f, ICR_LOGICAL | VECTOR);
    need_at(all() & 12, VECTOR, "cluster 2");
    apic_send(0x3f, ICR_LOGICAL | VECTOR);
    need_at(0, VECTOR, "cluster 3");
    run_on_all(set_flat);
}

static void check_logical_x2(void)
{
    for (u32 mask = 1; mask <= all(); mask++) {
        apic_send(mask, ICR_LOGICAL | VECTOR);
        need_at(mask, VECTOR, "x2APIC logical");
    }
    apic_send(0x10001, ICR_LOGICAL | VECTOR);
    need_at(0, VECTOR, "x2APIC, another cluster");
    apic_send(0x0000fff0, ICR_LOGICAL | VECTOR);
    need_at(0, VECTOR, "x2APIC, nobody's bits");
}

static void raise_priority(void)
{
    apic_write(APIC_TPR, 0x40);
}

/* Of all, exactly one: the one whose priority is lowest. */
static void check_lowest(void)
{
    if (!x2apic)
        run_on_all(set_flat);
    for (u32 lowest = 0; lowest < cpu_count; lowest++) {
        run_on_all(raise_priority);
        run_on(lowest, apic_reset_state);
        apic_send(all(), ICR_LOGICAL | MODE_LOWEST | VECTOR);
        need_at(1u << lowest, VECTOR, "lowest priority");
    }
}

static void check_nmi(void)
{
    apic_send(0, MODE_NMI);
    need_at(1, VECTOR_NMI, "NMI to itself");
    for (u32 cpu = 1; cpu < cpu_count; cpu++) {
        apic_send(cpu, MODE_NMI | 0x77);
        need_at(1u << cpu, VECTOR_NMI, "NMI");
    }
    apic_send(0, TO_OTHERS | MODE_NMI);
    need_at(all() & ~1u, VECTOR_NMI, "NMI to the others");
}

/* NMI needs neither IF nor a low TPR, and ends HLT. */
static volatile u32 halting;

static void halt_masked(void)
{
    apic_write(APIC_TPR, 0xf0);
    halting = 1;
    __asm__ volatile("cli; hlt; sti" : : : "memory");
}

static void check_nmi_wakes(void)
{
    halting = 0;
    cpus[1].job = halt_masked;
    wait_for(&halting, 1);
    settle();
    apic_send(1, VECTOR);
    settle();
    need(cpus[1].job, "a masked interrupt ended HLT");
    for (u32 i = 1; i < 20 && cpus[1].job; i++) { /* the first may come just before HLT */
        apic_send(1, MODE_NMI);
        need(wait_for(&cpus[1].count[VECTOR_NMI], i), "no NMI in HLT");
        settle();
    }
    barrier();
    need(cpus[1].count[VECTOR] == 0, "TPR F0 lets an interrupt through");
    run_on(1, apic_reset_state);
    need(wait_for(&cpus[1].count[VECTOR], 1), "the masked interrupt was lost");
}

static void check_absent(void)
{
    static const u32 x[] = {0x20, 0x77, 0xfe}, x2[] = {0x20, 0x77, 0xfe, 0xff, 0x10000, 0xfffffffe};

    for (u32 i = 0; i < (x2apic ? ARRAY_LENGTH(x2) : ARRAY_LENGTH(x)); i++) {
        u32 id = x2apic ? x2[i] : x[i];
        apic_send(id, VECTOR);
        apic_send(id, MODE_NMI);
        apic_send(id, MODE_INIT | ICR_ASSERT);
        apic_send(id, MODE_SIPI | 9);
        need_at(0, VECTOR, "to an absent ID");
        need(!(apic_read(APIC_ICR) & ICR_PENDING), "delivery is pending");
    }
    for (u32 cpu = 1; cpu < cpu_count; cpu++)
        need(cpus[cpu].starts == 1 || cpus[cpu].job == NULL, "vCPU %u restarted", cpu);
}

static void take_errors(void)
{
    apic_write(APIC_ESR, 0);
    cpus[cpu_index()].tsc[0] = apic_read(APIC_ESR);
}

static void check_reserved_vectors(void)
{
    for (u32 vector = 0; vector < 16; vector += 5) {
        apic_send(1, vector);
        need_at(0, VECTOR, "a reserved vector");
        run_on_all(take_errors);
        need(cpus[0].tsc[0] & 0x20, "sender's ESR is %llx", cpus[0].tsc[0]);
        need((cpus[1].tsc[0] & ~0x40ull) == 0, "receiver's ESR is %llx", cpus[1].tsc[0]);
    }
}

/* Delivery modes that do not exist, and combinations that are not valid. */
static void check_reserved_modes(void)
{
    apic_send(cpu_count - 1, 0x300 | VECTOR);
    need_at(0, VECTOR, "delivery mode 3");
    apic_send(cpu_count - 1, 0x700 | VECTOR);
    need_at(0, VECTOR, "delivery mode 7");
    apic_send(0, TO_SELF | MODE_NMI);
    need_at(0, VECTOR, "NMI with shorthand self");
    apic_send(0, TO_OTHERS | MODE_INIT | ICR_LEVEL);
    need_at(0, VECTOR, "INIT level de-assert");
}

static void check_status(void)
{
    apic_send(0, TO_ALL | ICR_ASSERT | VECTOR);
    u32 icr = apic_read(APIC_ICR);
    need(icr == (TO_ALL | ICR_ASSERT | VECTOR), "the ICR reads %x", icr);
    if (!x2apic) {
        apic_write(APIC_ICR_HIGH, 0x12ffffff);
        need(apic_read(APIC_ICR_HIGH) == 0x12000000, "ICR high reads %x", apic_read(APIC_ICR_HIGH));
    }
    need_at(all(), VECTOR, "all");
}

/* Held back by the receiver's TPR until it falls. */
static void check_remote_priority(void)
{
    run_on(1, raise_priority);
    apic_send(1, 0x3f);
    barrier();
    need(cpus[1].count[0x3f] == 0, "TPR 40 lets 3F through");
    apic_send(1, 0x51);
    need(wait_for(&cpus[1].count[0x51], 1), "TPR 40 holds 51 back");
    run_on(1, apic_reset_state);
    need(wait_for(&cpus[1].count[0x3f], 1), "3F is lost");
}

static volatile u32 rounds;

static void answer_until_done(void)
{
    cpu_interrupts_off(); /* or the last one comes between the look and HLT */
    while (rounds) {
        cpu_wait_for_interrupt();
        cpu_interrupts_off();
    }
    cpu_interrupts_on();
}

static void send_back(void)
{
    apic_end();
    apic_send(0, 0x72);
}

/* One that sleeps in HLT is woken each time; nothing is lost. */
static void check_ping_pong(void)
{
    vector_handlers[0x71] = send_back;
    rounds = 200;
    for (u32 cpu = 1; cpu < cpu_count; cpu++)
        cpus[cpu].job = answer_until_done;
    for (u32 i = 1; i <= 200; i++) {
        apic_send(1 + i % (cpu_count - 1), 0x71);
        while (cpus[0].count[0x72] < i && !check_failed) {
            cpu_interrupts_off();
            if (cpus[0].count[0x72] < i)
                cpu_wait_for_interrupt();
            cpu_interrupts_on();
        }
    }
    rounds = 0;
    for (u32 cpu = 1; cpu < cpu_count; cpu++)
        apic_send(cpu, 0x73);
    barrier();
}

const struct check ipi_checks[] = {
    {"ipi-self",             check_self,             CHECK_BOTH,  1},
    {"ipi-one",              check_one,              CHECK_BOTH,  2},
    {"ipi-from-others",      check_from_others,      CHECK_BOTH,  2},
    {"ipi-shorthands",       check_shorthands,       CHECK_BOTH,  1},
    {"ipi-logical-flat",     check_logical_flat,     CHECK_XAPIC, 1},
    {"ipi-logical-cluster",  check_logical_cluster,  CHECK_XAPIC, 1},
    {"ipi-logical",          check_logical_x2,       CHECK_X2,    1},
    {"ipi-lowest",           check_lowest,           CHECK_BOTH,  2},
    {"ipi-nmi",              check_nmi,              CHECK_BOTH,  1},
    {"ipi-nmi-wakes",        check_nmi_wakes,        CHECK_BOTH,  2},
    {"ipi-absent",           check_absent,           CHECK_BOTH,  1},
    {"ipi-reserved-vectors", check_reserved_vectors, CHECK_BOTH,  2},
    {"ipi-reserved-modes",   check_reserved_modes,   CHECK_BOTH,  1},
    {"ipi-status",           check_status,           CHECK_BOTH,  1},
    {"ipi-remote-priority",  check_remote_priority,  CHECK_BOTH,  2},
    {"ipi-ping-pong",        check_ping_pong,        CHECK_BOTH,  2},
    {NULL,                   NULL,                   0,           0},
};
