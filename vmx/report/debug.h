/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a debugger has in a vCPU: a pending change of its state, a single step, the debug registers. vmx/report/debug.c
 * owns it.
 */
#ifndef ROOTLET_VMX_REPORT_DEBUG_H
#define ROOTLET_VMX_REPORT_DEBUG_H

#include "kernel/virt_debug.h"
#include "vmx/outcome.h"
#include "vmx/vcpu.h"

/* How the stepped instruction deals with RFLAGS.TF. */
enum debug_step_kind {
    STEP_PLAIN,
    STEP_PUSHES, /* PUSHF: the image on the stack has the debugger's TF */
    STEP_POPS,   /* POPF, IRET: TF afterwards is what the guest has loaded */
};

struct vmx_debug {
    bool prepared; /* the fields of virt_debug_prepare wait for the next run */
    struct debug_step step;
    const struct debug_registers *registers;
    struct debug_points points;

    bool stepping; /* RFLAGS.TF is the debugger's */
    bool guest_tf; /* what it would be without */
    u8 kind;       /* enum debug_step_kind */
    u64 from_rip;
    bool owed; /* a step was given up inside a handler: TF is in a frame on the guest's stack, and traps after IRET */

    bool put_off; /* the level that runs is about to change */
    bool step_put_off;

    bool owns_registers; /* DR0-DR3, DR6 and DR7 are the debugger's; the guest's are here */
    bool guest_used;     /* v->debug_used of the guest */
    u64 guest_dr[4], guest_dr6, guest_dr7;
};

/* What the current VMCS, v's, and v->gpr hold, as the guest sees it: all but CR2 and the FPU's registers. */
void vmx_debug_read(const struct vmx_vcpu *v, struct debug_registers *out);
/* Of vCPUs with v->debug. Before each run, VMCS loaded: what the debugger changed takes effect. */
void vmx_debug_enter(struct vmx_vcpu *v);
/* INIT and SIPI have given the vCPU a fresh state; before vmx_debug_enter(). */
void vmx_debug_begin_anew(struct vmx_vcpu *v);
/*
 * A guest hypervisor's inner guest is about to run instead of it, or the other way round: what is the debugger's is
 * taken out of the current VMCS, and put into that of the level that runs from now on. So breakpoints and steps go on
 * there.
 */
COLD void vmx_debug_put_off(struct vmx_vcpu *v);
COLD void vmx_debug_go_on(struct vmx_vcpu *v);
/* An exception has exited with this interruption information. True: it was the debugger's alone; false: the guest gets
 * it. */
bool vmx_debug_exception(struct vmx_vcpu *v, u32 info);
/* MOV DR while the debugger uses the debug registers. */
enum outcome vmx_debug_mov_dr(struct vmx_vcpu *v);

#endif
