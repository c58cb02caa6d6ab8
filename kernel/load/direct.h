/*
 * What kernels that are booted directly, without a boot loader in the guest, need beyond the common load request and
 * start state: an initrd, the ACPI root pointer, and for Linux descriptor and page tables that the loader has written.
 */
#ifndef ROOTLET_KERNEL_LOAD_DIRECT_H
#define ROOTLET_KERNEL_LOAD_DIRECT_H

#include "kernel/load/load.h"

struct direct_request {
    struct load_request load;
    struct image initrd; /* bytes NULL: none */
    gpa_t acpi_root;     /* the RSDP; 0: none */
};

/*
 * The descriptor table, in guest memory, has a flat code and a flat data segment of the mode's width. In long mode the
 * boot vCPU begins with CR0.PG, CR4.PAE, EFER.LME and LMA, and CR3 = cr3, interrupts off; state.mode does not count.
 */
struct direct_start {
    struct start_state state;
    bool long_mode;
    u16 code_selector, data_selector;
    u16 gdt_limit;
    u64 gdt_base;
    u64 cr3; /* in long mode only */
};

#endif
