/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The timer of the virtual local APIC, for vlapic.c; hosts need IA32_TSC_DEADLINE alone.
 */
#ifndef ROOTLET_DRIVERS_VIRT_VLAPIC_TIMER_H
#define ROOTLET_DRIVERS_VIRT_VLAPIC_TIMER_H

#include "drivers/virt/vlapic.h"

/* A periodic timer with a shorter period interrupts at this distance or the next multiples of its period. */
#define VLAPIC_TIMER_MIN_PERIOD_NS 20000u

/* Adds the APIC's timer to its set. */
void vlapic_timer_init(struct vlapic *v);
/* Stops it. The registers are the caller's. */
void vlapic_timer_stop(struct vlapic *v);
/* Values without reserved bits. */
void vlapic_timer_write_lvt(struct vlapic *v, u32 value);
void vlapic_timer_write_initial(struct vlapic *v, u32 count);
void vlapic_timer_write_divide(struct vlapic *v, u32 value);
u32 vlapic_timer_read_current(struct vlapic *v);
/* IA32_TSC_DEADLINE: outside TSC-deadline mode it reads 0 and ignores writes; 0 once it has expired. */
u64 vlapic_timer_read_deadline(struct vlapic *v);
void vlapic_timer_write_deadline(struct vlapic *v, u64 tsc);

#endif
