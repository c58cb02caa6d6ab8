/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the attacks share: how long they last, the vCPUs beside the first one, and the local APIC.
 */
#ifndef GUEST_HOSTILE_H
#define GUEST_HOSTILE_H

#include "guests/lib/guest.h"
#include "guests/lib/interrupts.h"

#define APIC_BASE          0xfee00000u
#define APIC_TPR           0x80u
#define APIC_EOI           0xb0u
#define APIC_SVR           0xf0u
#define APIC_ICR_LOW       0x300u
#define APIC_ICR_HIGH      0x310u
#define APIC_LVT_TIMER     0x320u
#define APIC_TIMER_INITIAL 0x380u
#define APIC_TIMER_DIVIDE  0x3e0u

#define SVR_ENABLED   0x1ffu
#define TPR_ALL       0xffu
#define VECTOR_TAKEN  0x2eu /* its handler ends the interrupt at the local APIC */
#define HOSTILE_VCPUS 16u

struct attack {
    const char *name;
    void (*prepare)(void);   /* boot vCPU, before the others start; may be NULL */
    void (*first)(void);     /* boot vCPU; returns when the time is over */
    void (*other)(u32 self); /* each of the others; may return. NULL: there are none */
};

extern const struct attack hostile_signals[], hostile_timers[], hostile_exits[]; /* each ends with a row without name */

static inline void apic_write(u32 offset, u32 value)
{
    *(volatile u32 *)(APIC_BASE + offset) = value;
}

static inline void write_msr(u32 index, u64 value)
{
    __asm__ volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

/* The attack's time is over. */
bool hostile_is_over(void);
/* How many vCPUs the VM has. */
u32 hostile_vcpus(void);
/* The local APIC of this vCPU on, with this TPR. */
void hostile_open_apic(u32 tpr);
/* In HLT with interrupts on until the end, which it only notices when something wakes it. */
void hostile_sleep(void);

/* entry.asm: ends the interrupt at the local APIC; likewise, and calls hostile_note_tick() first; an NMI does nothing.
 */
void hostile_taken(void);
void hostile_tick(void);
void hostile_nmi(void);

#endif
