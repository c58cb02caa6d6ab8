/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The start code of application processors (boot/ap.asm). smp.c copies [ap_trampoline_start, ap_trampoline_end) to a
 * page-aligned address below 1 MiB, fills the parameter block inside the copy, and sends INIT-SIPI-SIPI with that page.
 * One processor at a time: the block is reused.
 */
#ifndef ROOTLET_BOOT_AP_H
#define ROOTLET_BOOT_AP_H

#include "kernel/lib/types.h"

struct cpu_local;

struct ap_params {
    u64 cr3;       /* paging_cr3() */
    u64 boot_cr3;  /* the boot page tables, below 4 GiB */
    u64 efer;      /* features_efer(): NXE before the kernel's tables, which have NX bits, are loaded */
    u64 stack_top; /* cpu->stack_top */
    /*
     * The APIC id of the CPU that is to come, + 1, until one takes it, or 0. Whoever cannot take it (a CPU that was
     * given up, and wanders in when another is called) stops before it touches a stack.
     */
    u64 ticket;
    struct cpu_local *cpu; /* becomes GS base and the entry's argument */
    /*
     * Runs on the new stack with interrupts off and GS set; never returns. It first calls percpu_load(cpu), which gives
     * the CPU its own GDT, TSS, IDT and control register bits.
     */
    void (*entry)(struct cpu_local *cpu);
};

extern const u64 boot_pml4[]; /* boot/tables.asm */
extern const u8 ap_trampoline_start[];
extern const u8 ap_trampoline_end[];
extern const u8 ap_trampoline_params[]; /* where in the copy: ap_trampoline_params - ap_trampoline_start */

#endif
