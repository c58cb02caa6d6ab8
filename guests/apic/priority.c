/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Priorities of interrupts: TPR, CR8 and PPR, IRR and ISR, nesting, the order of EOIs. Written for CPUs whose task
 * priority masks by class. SDM 3A 10.8.3 "Interrupt, Task, and Processor Priority", 10.8.4 "Interrupt Acceptance for
 * Fixed Interrupts".
 */
#include "guests/apic/apic.h"

static void send_self(u32 vector)
{
    apic_send(0, TO_SELF | vector);
}

static void check_tpr(void)
{
    apic_write(APIC_TPR, 0x50);
    need(apic_read(APIC_TPR) == 0x50 && apic_read(APIC_PPR) == 0x50, "TPR or PPR after the write of 50");
    send_self(0x4f);
    send_self(0x50);
    send_self(0x5f);
    settle();
    need(cpus[0].order_length == 0, "%x came through TPR 50", cpus[0].order[0]);
    need(apic_has(APIC_IRR, 0x4f) && apic_has(APIC_IRR, 0x50) && apic_has(APIC_IRR, 0x5f), "not in IRR");
    need(!apic_has(APIC_ISR, 0x5f), "in ISR");
    send_self(0x60);
    settle();
    need(cpus[0].order_length == 1 && cpus[0].order[0] == 0x60, "60 does not come through TPR 50");
    apic_write(APIC_TPR, 0x4f);
    settle();
    need(cpus[0].order_length == 3 && cpus[0].order[1] == 0x5f && cpus[0].order[2] == 0x50,
         "TPR 4F lets through %u: %x %x", cpus[0].order_length, cpus[0].order[1], cpus[0].order[2]);
    apic_write(APIC_TPR, 0);
    settle();
    need(cpus[0].order_length == 4 && cpus[0].order[3] == 0x4f, "TPR 0 does not let 4F through");
}

static void check_cr8(void)
{
    apic_write(APIC_TPR, 0x57);
    need(read_cr8() == 5, "CR8 is %llx at TPR 57", read_cr8());
    need(apic_try_cr8(9), "CR8 = 9");
    need(apic_read(APIC_TPR) == 0x90 && apic_read(APIC_PPR) == 0x90, "TPR is %x at CR8 9", apic_read(APIC_TPR));
    need(!apic_try_cr8(0x10), "CR8 takes 10");
    need(!apic_try_cr8(1ull << 63), "CR8 takes bit 63");
    need(read_cr8() == 9, "CR8 is %llx after refused writes", read_cr8());
    send_self(0x91);
    send_self(0x81);
    settle();
    need(cpus[0].order_length == 0, "an interrupt came through CR8 9");
    apic_try_cr8(8);
    wait_ns(2000);
    need(cpus[0].order_length == 1 && cpus[0].order[0] == 0x91, "CR8 8 lets %u through", cpus[0].order_length);
    apic_try_cr8(0);
    wait_ns(2000);
    need(cpus[0].order_length == 2 && cpus[0].order[1] == 0x81, "CR8 0 lets %u through", cpus[0].order_length);
    apic_try_cr8(15);
    send_self(0xfe);
    settle();
    need(cpus[0].order_length == 2, "an interrupt came through CR8 15");
    apic_write(APIC_TPR, 0);
    settle();
    need(cpus[0].count[0xfe] == 1, "FE does not come after TPR 0");
}

/* A write of CR8 acts before the next instruction boundary at which an interrupt may be taken. */
static void check_cr8_often(void)
{
    for (u32 i = 0; i < 50; i++) {
        apic_try_cr8(15);
        send_self(0x71);
        u32 before = cpus[0].count[0x71];
        apic_try_cr8(0);
        cpu_pause();
        need(before == i && cpus[0].count[0x71] == i + 1, "round %u: %u, then %u", i, before, cpus[0].count[0x71]);
    }
}

static void check_once(void)
{
    cpu_interrupts_off();
    send_self(0x41);
    send_self(0x41);
    need(apic_has(APIC_IRR, 0x41), "IRR");
    need(!apic_has(APIC_TMR, 0x41), "TMR is set for an edge");
    cpu_interrupts_on();
    settle();
    need(cpus[0].count[0x41] == 1, "sent twice, came %u times", cpus[0].count[0x41]);
}

/* All vectors wait, then come from the highest down; within the handlers interrupts are off. */
static void check_order(void)
{
    cpu_interrupts_off();
    static const u8 sent[] = {0x31, 0xe1, 0x75, 0x74, 0x10, 0xb0, 0xef};
    static const u8 due[] = {0xef, 0xe1, 0xb0, 0x75, 0x74, 0x31, 0x10};
    for (u32 i = 0; i < ARRAY_LENGTH(sent); i++)
        send_self(sent[i]);
    cpu_interrupts_on();
    settle();
    need(cpus[0].order_length == ARRAY_LENGTH(due), "%u interrupts", cpus[0].order_length);
    for (u32 i = 0; i < ARRAY_LENGTH(due); i++)
        need(cpus[0].order[i] == due[i], "number %u is %x", i, cpus[0].order[i]);
}

static u32 ppr_nested;

/* Vector 51, with interrupts on and in service. */
static void serve_nested(void)
{
    need(apic_has(APIC_ISR, 0x51) && !apic_has(APIC_IRR, 0x51), "51 is not in service");
    need(apic_read(APIC_PPR) == 0x50, "PPR is %x in the handler of 51", apic_read(APIC_PPR));
    cpu_interrupts_on();
    send_self(0x41);
    send_self(0x52); /* the same class waits, though its number is higher */
    send_self(0x51);
    settle();
    need(cpus[0].order_length == 1, "%x came into the handler of 51", cpus[0].order[1]);
    send_self(0x61);
    settle();
    need(cpus[0].order_length == 2 && cpus[0].order[1] == 0x61, "61 does not come into the handler of 51");
    need(!apic_has(APIC_ISR, 0x61) && apic_has(APIC_ISR, 0x51), "the EOI of 61 ended another");
    cpu_interrupts_off();
    vector_handlers[0x51] = NULL;
    apic_end();
}

static void serve_inner(void)
{
    ppr_nested = apic_read(APIC_PPR);
    apic_end();
}

static void check_nested(void)
{
    static const u8 due[] = {0x51, 0x61, 0x52, 0x51, 0x41};

    vector_handlers[0x51] = serve_nested;
    vector_handlers[0x61] = serve_inner;
    send_self(0x51);
    settle();
    need(ppr_nested == 0x60, "PPR is %x in the inner handler", ppr_nested);
    for (u32 i = 0; i < ARRAY_LENGTH(due); i++)
        need(cpus[0].order_length > i && cpus[0].order[i] == due[i], "number %u is %x", i, cpus[0].order[i]);
    need(apic_read(APIC_PPR) == 0, "PPR is %x in the end", apic_read(APIC_PPR));
}

static void serve_no_end(void) {}

/* EOI ends the highest in service, whatever its order of arrival; one with nothing in service is ignored. */
static void check_eoi(void)
{
    vector_handlers[0x41] = vector_handlers[0x61] = vector_handlers[0x81] = serve_no_end;
    send_self(0x41);
    settle();
    send_self(0x61);
    settle();
    send_self(0x81);
    settle();
    need(apic_has(APIC_ISR, 0x41) && apic_has(APIC_ISR, 0x61) && apic_has(APIC_ISR, 0x81), "not all are in service");
    apic_write(APIC_TPR, 0x70);
    need(apic_read(APIC_PPR) == 0x80, "PPR is %x below 81", apic_read(APIC_PPR));
    apic_end();
    need(!apic_has(APIC_ISR, 0x81) && apic_has(APIC_ISR, 0x61), "the first EOI");
    need(apic_read(APIC_PPR) == 0x70, "PPR is %x at TPR 70 over 61", apic_read(APIC_PPR));
    apic_write(APIC_TPR, 0x61);
    u32 ppr = apic_read(APIC_PPR); /* its low half is the model's choice when the classes are the same */
    need(ppr == 0x61 || ppr == 0x60, "PPR is %x at TPR 61 and 61 in service", ppr);
    apic_end();
    need(!apic_has(APIC_ISR, 0x61) && apic_has(APIC_ISR, 0x41), "the second EOI");
    apic_write(APIC_TPR, 0x10);
    need(apic_read(APIC_PPR) == 0x40, "PPR is %x at TPR 10 and 41 in service", apic_read(APIC_PPR));
    apic_end();
    apic_end();
    apic_end();
    need(!apic_has(APIC_ISR, 0x41) && apic_read(APIC_PPR) == 0x10, "after all EOIs PPR is %x", apic_read(APIC_PPR));
}

/* STI holds interrupts off for one instruction, and HLT ends by one that comes with it. */
static void check_halt(void)
{
    for (u32 i = 1; i <= 5; i++) {
        cpu_interrupts_off();
        send_self(0x41);
        cpu_wait_for_interrupt();
        need(cpus[0].count[0x41] == i, "HLT number %u: %u came", i, cpus[0].count[0x41]);
    }
}

/* One that TPR holds back does not end HLT; the timer does. */
static void check_halt_masked(void)
{
    cpu_interrupts_off();
    apic_write(APIC_TPR, 0x60);
    send_self(0x41);
    apic_write(APIC_LVT_TIMER, 0x71);
    u64 before = cpu_rdtsc();
    apic_write(APIC_TIMER_INITIAL, timer_of_ns(300000));
    cpu_wait_for_interrupt();
    u64 slept = cpu_rdtsc() - before;
    need(cpus[0].order_length == 1 && cpus[0].order[0] == 0x71, "HLT was ended by %x", cpus[0].order[0]);
    need(slept >= tsc_of_ns(300000), "HLT lasted %llu ticks", slept);
}

const struct check priority_checks[] = {
    {"tpr",          check_tpr,         CHECK_BOTH, 1},
    {"cr8",          check_cr8,         CHECK_BOTH, 1},
    {"cr8-often",    check_cr8_often,   CHECK_BOTH, 1},
    {"pending-once", check_once,        CHECK_BOTH, 1},
    {"order",        check_order,       CHECK_BOTH, 1},
    {"nested",       check_nested,      CHECK_BOTH, 1},
    {"eoi",          check_eoi,         CHECK_BOTH, 1},
    {"halt",         check_halt,        CHECK_BOTH, 1},
    {"halt-masked",  check_halt_masked, CHECK_BOTH, 1},
    {NULL,           NULL,              0,          0},
};
