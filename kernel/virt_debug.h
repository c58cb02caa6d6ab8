/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the GDB stub asks of the virtualisation mechanism about the vCPUs of the one VM that it debugs;
 * vmx/report/debug.c implements it. A paused vCPU belongs to no CPU: its registers lie in memory, where any CPU may
 * read and change them, and its home CPU takes the changes over when it lets it run again.
 */
#ifndef ROOTLET_KERNEL_VIRT_DEBUG_H
#define ROOTLET_KERNEL_VIRT_DEBUG_H

#include "kernel/vm/vm.h"

enum debug_segment { DEBUG_CS, DEBUG_SS, DEBUG_DS, DEBUG_ES, DEBUG_FS, DEBUG_GS, DEBUG_SEGMENTS };

#define DEBUG_FPU_BYTES 512u /* FXSAVE's image: SDM 1 10.5.1 "FXSAVE Area" */

struct debug_registers {
    u64 gpr[16]; /* in the order in which instructions encode them: RAX RCX RDX RBX RSP RBP RSI RDI R8... */
    u64 rip;
    u64 rflags; /* TF is the guest's own */
    u64 selectors[DEBUG_SEGMENTS];
    u64 fs_base, gs_base;
    u64 cr0, cr2, cr3, cr4, efer;
    u64 pdpte[4]; /* PAE paging */
    /* Whose inner guest runs with EPT, so that memory is where that says; NULL: none does. */
    const struct vcpu *inner;
    bool code64;    /* CS.L in IA-32e mode */
    bool changed;   /* gpr, rip or rflags: the debugger wrote */
    bool changed_f; /* fpu */
    u8 fpu[DEBUG_FPU_BYTES];
};

#define DEBUG_POINTS 4u /* hardware breakpoints and watchpoints: DR0 to DR3 */

/* What is set while the VM runs; the same for each of its vCPUs. */
struct debug_points {
    u64 address[DEBUG_POINTS];
    u64 dr7;       /* 0: none; SDM 3B 17.2.4 "Debug Control Register (DR7)" */
    bool software; /* there are INT3s of the debugger in guest memory */
};

/* Steps until RIP lies outside of [start, end); just once if that is empty. */
struct debug_step {
    bool on;
    u64 start, end;
};

/* The VM's vCPUs will be debugged: before the first of them runs, once in the machine's life. */
void virt_debug_begin(struct vm *vm);
/* The VM ends, and nothing of the debugger's is left in its vCPUs. All of them are retired. */
void virt_debug_end(struct vm *vm);
/*
 * Home CPU, outside of any exit: copies the state of a vCPU that is about to pause, with what the debugger had in it
 * (TF, debug registers) taken out, and clears its VMCS.
 */
void virt_debug_save(struct vcpu *vcpu, struct debug_registers *out);
/* The same when its state is another one, any CPU: it is paused and held. */
void virt_debug_save_again(struct vcpu *vcpu, struct debug_registers *out);
/*
 * Before a paused vCPU goes on, any CPU: its home CPU will take over changed registers, the points, and the step.
 * *registers must stay until the vCPU is saved again.
 */
void virt_debug_prepare(struct vcpu *vcpu, const struct debug_registers *registers, const struct debug_points *points,
                        const struct debug_step *step);
/*
 * Where a linear address lies in guest-physical memory, by the page tables that these registers name, and by the EPT of
 * the guest hypervisor; access rights and flags are left alone. False: nowhere.
 */
bool virt_debug_translate(const struct vm *vm, const struct debug_registers *registers, u64 linear,
                          gpa_t *out) MUST_CHECK;

#endif
