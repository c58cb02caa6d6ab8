/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a VM begins with: the image that it boots, and the state in which its boot vCPU starts. The loaders of
 * kernel/load/ turn the one into the other.
 */
#ifndef ROOTLET_KERNEL_VM_START_H
#define ROOTLET_KERNEL_VM_START_H

#include "kernel/lib/types.h"

struct image {
    const u8 *bytes;
    u64 size_bytes;
    const char *line; /* the guest's own command line, or the module's string; never NULL */
};

/* In which state the boot vCPU begins. */
enum start_mode {
    START_REAL16,      /* CS:IP = 0:rip, all segments 0, SP = rsp */
    START_PROTECTED32, /* flat 4 GiB segments, paging off, interrupts off: the multiboot machine state */
    START_LONG64       /* 64-bit mode: CR0.PG, CR4.PAE, EFER.LME and LMA, CR3 = cr3; flat segments, interrupts off */
};

/*
 * A descriptor table in guest memory with a flat code and a flat data segment of the mode's width. gdt_limit 0: none;
 * START_PROTECTED32 then has the selectors of the multiboot machine state, which leaves them to the loader.
 */
struct start_state {
    enum start_mode mode;
    u16 code_selector, data_selector;
    u16 gdt_limit;
    u64 gdt_base;
    u64 cr3; /* START_LONG64 only */
    u64 rip;
    u64 rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
};

#endif
