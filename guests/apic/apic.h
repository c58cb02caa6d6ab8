/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of the APIC test guest share: accesses to the local APIC in either mode, the log of interrupts that
 * each vCPU keeps, jobs for the other vCPUs, and the words in which a check says what is wrong. Checks run on vCPU 0
 * with interrupts on, unless they say otherwise; the other vCPUs wait for jobs with interrupts on.
 */
#ifndef GUEST_APIC_H
#define GUEST_APIC_H

#include "guests/lib/guest.h"

#define MAX_CPUS    4u
#define STACK_SHIFT 14
#define TRAMPOLINE  0x8000u

/* Register offsets (SDM 3A 10.4.1 "The Local APIC Block Diagram"). */
#define APIC_ID            0x020u
#define APIC_VERSION       0x030u
#define APIC_TPR           0x080u
#define APIC_PPR           0x0a0u
#define APIC_EOI           0x0b0u
#define APIC_LDR           0x0d0u
#define APIC_DFR           0x0e0u
#define APIC_SVR           0x0f0u
#define APIC_ISR           0x100u
#define APIC_TMR           0x180u
#define APIC_IRR           0x200u
#define APIC_ESR           0x280u
#define APIC_ICR           0x300u
#define APIC_ICR_HIGH      0x310u
#define APIC_LVT_TIMER     0x320u
#define APIC_LVT_LINT0     0x350u
#define APIC_LVT_LINT1     0x360u
#define APIC_LVT_ERROR     0x370u
#define APIC_TIMER_INITIAL 0x380u
#define APIC_TIMER_CURRENT 0x390u
#define APIC_TIMER_DIVIDE  0x3e0u
#define APIC_SELF_IPI      0x3f0u

#define APIC_MEMORY  0xfee00000ull
#define SVR_ENABLED  0x100u
#define LVT_MASKED   0x10000u
#define LVT_PERIODIC 0x20000u
#define LVT_DEADLINE 0x40000u
#define MODE_LOWEST  0x100u
#define MODE_NMI     0x400u
#define MODE_INIT    0x500u
#define MODE_SIPI    0x600u
#define MODE_EXTINT  0x700u
#define ICR_LOGICAL  0x800u
#define ICR_PENDING  0x1000u
#define ICR_ASSERT   0x4000u
#define ICR_LEVEL    0x8000u
#define TO_SELF      0x40000u
#define TO_ALL       0x80000u
#define TO_OTHERS    0xc0000u

#define MSR_TSC          0x010u
#define MSR_APIC_BASE    0x01bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC       0x800u

#define BASE_BSP      0x100ull
#define BASE_EXTENDED 0x400ull
#define BASE_ENABLED  0x800ull

#define VECTOR_NMI      2u
#define VECTOR_SPURIOUS 0xffu
#define VECTOR_PIC      0x20u /* the 8259A's sixteen */

/* What a vCPU has received. */
struct cpu {
    volatile u32 count[256];
    volatile u64 tsc[256]; /* of the last one */
    volatile u32 order_length;
    volatile u8 order[32];
    void (*volatile job)(void);
    volatile u32 starts; /* times that SIPI has brought it into apic_cpu_main() */
    volatile u64 turns;  /* of its waiting loop */
};

extern struct cpu cpus[MAX_CPUS];
extern u32 cpu_count;
extern bool x2apic; /* the mode of every vCPU now */
/* What a vector does instead of being logged and ended; it is logged in any case. NULL: nothing special. */
extern void (*vector_handlers[256])(void);

u32 cpu_index(void);
void interrupts_setup(void);
bool apic_try_read(u32 msr, u64 *value);
bool apic_try_write(u32 msr, u64 value);
bool apic_try_cr8(u64 value);
u64 msr_read(u32 msr);
void msr_write(u32 msr, u64 value);
u64 read_cr8(void);

u32 apic_read(u32 offset);
void apic_write(u32 offset, u32 value);
/* destination: an APIC ID or a logical ID as the mode has them (8 or 32 bits). */
void apic_send(u32 destination, u32 command);
bool apic_has(u32 bank, u32 vector); /* a bit of ISR, TMR or IRR */
void apic_end(void);
/* Enabled by SVR, TPR 0, all LVT entries masked, timer off, nothing in service, ESR clear, the log empty. */
void apic_reset_state(void);
/* This vCPU's APIC into xAPIC or x2APIC mode, by way of disabling it. */
void apic_enter_mode(bool extended);

/* Other vCPUs. They must have been started. */
void start_cpus(void);
void run_on(u32 cpu, void (*job)(void));
void run_on_all(void (*job)(void)); /* one after the other, this one last */
void barrier(void);                 /* every vCPU has taken what was pending for it */
void clear_log(void);               /* of every vCPU */

/* Time: the TSC by CPUID leaf 15H. */
u64 tsc_of_ns(u64 ns);
u64 ns_of_tsc(u64 tsc);
/* Counts of the local APIC's timer. */
u32 timer_of_ns(u64 ns);
void wait_ns(u64 ns);
/* Waits until *counter has reached `least`, for a second at most. */
bool wait_for(const volatile u32 *counter, u32 least);
/* Long enough for anything that is pending to arrive here. */
void settle(void);

/* A check's first broken condition is its verdict. */
extern bool check_failed;
extern char check_text[120];
#define need(good, ...)                                                                                                \
    do {                                                                                                               \
        if (!(good) && !check_failed) {                                                                                \
            check_failed = true;                                                                                       \
            format_text(check_text, sizeof check_text, __VA_ARGS__);                                                   \
        }                                                                                                              \
    } while (0)
/* Words behind `ok`. */
#define note(...) format_text(check_text, sizeof check_text, __VA_ARGS__)

#define CHECK_BOTH  0u /* in each mode of the local APIC */
#define CHECK_ONCE  1u /* in xAPIC mode only: about something else */
#define CHECK_XAPIC 2u
#define CHECK_X2    3u

struct check {
    const char *name;
    void (*run)(void);
    u8 modes;
    u8 least_cpus;
};

extern const struct check local_checks[], priority_checks[], timer_checks[], ipi_checks[], start_checks[],
    device_checks[], hpet_checks[], clock_checks[], last_checks[];

/* devices.c */
void ioapic_write(u32 index, u32 value);
u32 ioapic_read(u32 index);
void ioapic_set_pin(u32 pin, u32 low, u32 destination);
void ioapic_mask_all(void);
void pic_init(void);
void pic_mask_all(void);
void pit_start(u8 mode, u32 count); /* channel 0 */
void pit_stop(void);                /* a mode without a count: it waits for ever */

/* clocks.c */
u16 acpi_pm1_control_port(void), acpi_reset_port(void);
u8 acpi_reset_value(void);
#endif
