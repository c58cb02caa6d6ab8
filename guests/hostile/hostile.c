/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A neighbour that means harm, not to memory but to time: attack=<name> on all of the VM's vCPUs for ms=<n> (1000);
 * then it ends with status 0. signals.c, timers.c and exits.c have the attacks.
 */
#include "guests/hostile/hostile.h"

void hostile_entry(void);
void hostile_other(u32 self);

u8 hostile_stacks[HOSTILE_VCPUS][4096] __attribute__((aligned(16)));
static u64 end;
static const struct attack *chosen;
static struct {
    u16 limit;
    u32 base;
} __attribute__((packed)) idt_pointer;

bool hostile_is_over(void)
{
    return cpu_rdtsc() >= end;
}

u32 hostile_vcpus(void)
{
    struct hypercall call = {ROOTLET_CALL_IDENTITY, 0, 0, 0};
    return hypercall(&call) == ROOTLET_OK ? call.edx : 1;
}

void hostile_open_apic(u32 tpr)
{
    apic_write(APIC_SVR, SVR_ENABLED);
    apic_write(APIC_TPR, tpr);
}

void hostile_sleep(void)
{
    while (!hostile_is_over())
        cpu_wait_for_interrupt();
}

void hostile_other(u32 self)
{
    __asm__ volatile("lidt %0" : : "m"(idt_pointer));
    chosen->other(self);
    for (;;)
        cpu_wait_for_interrupt();
}

static const struct attack *find(const struct attack *table, const char *name)
{
    for (; table->name; table++) {
        u32 n = 0;
        while (table->name[n] && table->name[n] == name[n])
            n++;
        if (!table->name[n] && (!name[n] || name[n] == ' '))
            return table;
    }
    return NULL;
}

int guest_main(void)
{
    static const struct attack *const tables[] = {hostile_signals, hostile_timers, hostile_exits};
    const char *name = guest_option("attack");

    expect(name, "attack=<name>: guests/hostile has the names");
    for (u32 i = 0; i < 3 && !chosen; i++)
        chosen = find(tables[i], name);
    expect(chosen, "no such attack");
    end = cpu_rdtsc() + (u64)guest_option_number("ms", 1000) * hypercall_tsc_khz();
    interrupts_init();
    interrupts_set_gate(VECTOR_TAKEN, hostile_taken);
    interrupts_set_gate(2, hostile_nmi);
    __asm__ volatile("sidt %0" : "=m"(idt_pointer));
    if (chosen->prepare)
        chosen->prepare();
    for (u32 i = 1; chosen->other && i < hostile_vcpus(); i++) {
        struct hypercall start = {ROOTLET_CALL_START_VCPU, i, (u32)hostile_entry, i};
        expect(hypercall(&start) == ROOTLET_OK, "a vCPU does not start");
    }
    chosen->first();
    return 0;
}
