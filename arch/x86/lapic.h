/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC of the CPU that runs, in xAPIC mode (registers in memory) or x2APIC mode (MSRs): identification, EOI,
 * inter-processor interrupts and the one-shot timer. All CPUs use the same mode. IA32_APIC_BASE.EN is never cleared.
 * SDM 3A 10.4 "Local APIC", 10.5.4 "APIC Timer", 10.6 "Issuing Interprocessor Interrupts", 10.12 "Extended XAPIC
 * (x2APIC)".
 */
#ifndef ROOTLET_ARCH_LAPIC_H
#define ROOTLET_ARCH_LAPIC_H

#include "kernel/lib/status.h"

/*
 * Boot CPU, once: chooses the mode (x2APIC where the CPU has it, since there is no way back to xAPIC where firmware
 * has switched it on, and a hypervisor below us answers a WRMSR faster than an access to memory) and sets this CPU's
 * APIC up: enabled, NMI on LINT1 (or LINT0), all other local vectors masked, task priority 0. STATUS_UNSUPPORTED: the
 * CPU has no local APIC, or x2APIC is needed and missing.
 */
enum status lapic_init_boot_cpu(bool need_x2apic, bool nmi_lint0, struct refusal *why) MUST_CHECK;
/* Every other CPU, in its first C code. */
void lapic_init_cpu(void);
bool lapic_is_x2apic(void);

/* The APIC id of this CPU, read from CPUID: works before lapic_init_*. */
u32 lapic_id_from_cpuid(void);
u32 lapic_id(void);
void lapic_eoi(void);

/* Each waits (briefly, xAPIC only) until the previous command has left. NMI-safe only: lapic_send_nmi*. */
void lapic_send_ipi(u32 apic_id, u8 vector);
void lapic_send_init(u32 apic_id);
/* start: physical address of the first instruction, 4 KiB aligned, below 1 MiB. */
void lapic_send_startup(u32 apic_id, u32 start);
void lapic_send_nmi(u32 apic_id);
void lapic_send_nmi_all_others(void);

/*
 * Boot CPU, once, after tsc_init: finds out how the timer runs; busy for about 2 ms if the CPU has no TSC-deadline
 * mode. Then lapic_timer_init_cpu. Returns the mode's name for the log.
 */
const char *lapic_timer_init(u64 tsc_hz);
/* Every CPU: unmasks its timer, disarmed. */
void lapic_timer_init_cpu(void);
/*
 * One IRQ_VECTOR_TIMER interrupt on this CPU at or after TSC `deadline_tsc` (one in the past: at once). Replaces
 * the previous one. Without TSC-deadline mode a far deadline may come early: the handler looks at the clock and arms
 * again.
 */
void lapic_timer_arm(u64 deadline_tsc);
void lapic_timer_disarm(void);

#endif
