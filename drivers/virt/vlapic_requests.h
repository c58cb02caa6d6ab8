/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Between the files of the local APIC.
 */
#ifndef ROOTLET_DRIVERS_VIRT_VLAPIC_REQUESTS_H
#define ROOTLET_DRIVERS_VIRT_VLAPIC_REQUESTS_H

#include "drivers/virt/vlapic.h"

#define VLAPIC_LOWEST_VECTOR 16u

/* SVR lets interrupts in, and the APIC is there. */
static ALWAYS_INLINE bool vlapic_is_enabled(const struct vlapic *v)
{
    return v->base & APIC_BASE_EN && *vlapic_register(v, APIC_SVR) & APIC_SVR_ENABLED;
}

static ALWAYS_INLINE void vlapic_notify(const struct vlapic *v)
{
    v->setup.host->notify(v->setup.context);
}

/* After base, SVR, or the whole page has changed. */
void vlapic_choose_delivery(struct vlapic *v);
/* After the registers' reset, which disables the APIC. The caller sees to it that the vCPU looks at them. */
void vlapic_drop_requests(struct vlapic *v);
/* The first error after a write to ESR interrupts. */
COLD void vlapic_note_error(struct vlapic *v, unsigned error);

#endif
