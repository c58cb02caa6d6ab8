/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interrupt descriptor table, one for all CPUs: 256 interrupt gates. NMI, #DF and #MC have stacks of their own.
 * SDM 3A 6.14 "Exception and Interrupt Handling in 64-bit Mode".
 */
#ifndef ROOTLET_ARCH_IDT_H
#define ROOTLET_ARCH_IDT_H

#include "kernel/lib/types.h"

/* Boot CPU, once: fills the table. */
void idt_init(void);
/* Every CPU, after gdt_load_cpu: loads IDTR. */
void idt_load(void);
u64 idt_base(void);

#endif
