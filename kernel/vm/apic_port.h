/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a vCPU asks of its local APIC, whichever device plays that part: the port between the two.
 */
#ifndef ROOTLET_KERNEL_VM_APIC_PORT_H
#define ROOTLET_KERNEL_VM_APIC_PORT_H

#include "kernel/lib/types.h"

/*
 * A vCPU's local APIC as the CPU sees it: what may be delivered now (two loads), the INTA, and its registers. Callers
 * of the functions hold the VM's device lock.
 */
struct cpu_apic {
    void *device;
    const s16 *pending;           /* the vector to deliver, or -1 */
    const bool *extint;           /* it passes the 8259A's INTR on to the CPU */
    const bool *intr;             /* that INTR; the boot CPU alone is wired to it */
    const u64 *base;              /* IA32_APIC_BASE */
    u32 *page;                    /* the registers */
    const bool *virtual_delivery; /* the CPU itself delivers what the page requests; nothing is ever pending */
    const struct cpu_apic_ops *ops;
};

struct cpu_apic_ops {
    u8 (*acknowledge)(void *device);
    void (*end_interrupt)(void *device);             /* EOI */
    u64 (*read)(void *device, u64 offset, u8 bytes); /* xAPIC registers */
    void (*write)(void *device, u64 offset, u8 bytes, u64 value);
    bool (*read_msr)(void *device, u32 index, u64 *value); /* x2APIC; false: #GP */
    bool (*write_msr)(void *device, u32 index, u64 value);
    u64 (*read_deadline)(void *device); /* IA32_TSC_DEADLINE */
    void (*write_deadline)(void *device, u64 tsc);
    bool (*write_base)(void *device, u64 value);
    u64 (*read_cr8)(void *device);
    void (*write_cr8)(void *device, u64 value);
    void (*reset)(void *device); /* INIT, once its vCPU has stopped */
    /* With virtual delivery: a request waits that the priorities let through; the CPU has written a register into the
     * page; it has ended a level-triggered interrupt. */
    bool (*is_waiting)(const void *device);
    void (*written)(void *device, u32 offset);
    void (*end_level)(void *device, u8 vector);
};

#endif
