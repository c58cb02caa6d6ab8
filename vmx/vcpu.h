/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VMX half of a vCPU, and what the files of vmx/ share about it.
 *
 * State of its VMCS (SDM 3C 24.1 "Overview"): clear (active_cpu is none), current or active on one CPU, and launched
 * there or not. Invariant: `launched` implies active; only active_cpu may read or write the VMCS, after it has made it
 * current.
 */
#ifndef ROOTLET_VMX_VCPU_H
#define ROOTLET_VMX_VCPU_H

#include "arch/x86/cpu.h"
#include "kernel/virt.h"
#include "vmx/exit/mmio_slot.h"
#include "vmx/exit/mtrr.h"
#include "vmx/features.h"
#include "vmx/vmcs.h"

/* Indices of gpr[], as instructions encode registers. RSP lives in the VMCS. */
enum vmx_gpr { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI };

/* Basic exit reasons that exit.c knows. SDM 3D Appendix C "VMX Basic Exit Reasons". */
#define EXIT_REASONS 65u

#define VMX_SWITCHED_MSRS 6u

/* vmx_vcpu.end_flags of a vCPU without breakpoints; with them, a bit that is always set in RFLAGS is one more. */
#define VMX_END_FLAGS (u32)(RFLAGS_TF | RFLAGS_RF)

struct vmx_event {
    u32 info; /* as in the VM-entry interruption-information field; bit 31: valid */
    u32 error_code;
    u32 length;
};

struct vmx_vcpu;
/*
 * Where a physical address of the inner guest is in the guest's memory, for an access of ours on its behalf. `access`
 * is as in bits 2:0 of an EPT violation's qualification, or VMX_INNER_TABLE. With `flags` it counts as one of the
 * CPU's, else nobody notices. False: the guest hypervisor does not allow it; with `flags` it hears of that before the
 * inner guest goes on.
 */
typedef bool vmx_inner_physical(const struct vmx_vcpu *v, u64 address, u32 access, bool flags, u64 *physical);
#define VMX_INNER_TABLE 8u /* an entry of the inner guest's page tables is read */

/* A VM entry that failed, for the report of it: vmx/check/explain.h. */
struct vmx_failure {
    bool known;
    u8 how;      /* enum explain_failure */
    u32 error;   /* the VM-instruction error; only of VMfailValid */
    u64 current; /* the current VMCS then */
};

/* How far the report of a vCPU that has stopped is: vmx/report/report.c. */
struct vmx_report {
    u32 part;
    u32 at; /* in it; 0: at its beginning */
};

/* What the flight recorder had of a vCPU's last entry and exit when its report began: vmx/report/fault.c. */
struct vmx_last {
    bool stopped; /* that exit has stopped the VM */
    u8 delivered; /* the vector of the interrupt that the entry delivered; below 16: none */
    u32 injected; /* interruption information of the exception or NMI that it injected; 0: none */
};

/* What goes with a VMCS. In words, for a vCPU whose guest is a hypervisor: it has two, vmx/nested/level.h. */
#define VMX_LEVEL                                                                                                      \
    union {                                                                                                            \
        struct {                                                                                                       \
            hpa_t vmcs;                                                                                                \
            u64 host_rsp; /* as in the VMCS: entry.asm */                                                              \
            u32 launched;                                                                                              \
            u32 host_cpu; /* whose GDT, TSS, GS the VMCS's host state holds */                                         \
            u32 tlb_cpu;  /* the only CPU whose TLB may hold its translations usefully */                              \
            u16 vpid;                                                                                                  \
            bool nmi_in_service; /* with QUIRK_NMI_BLOCKING: event.c */                                                \
        };                                                                                                             \
        u64 level_words[4];                                                                                            \
    }

struct vmx_vcpu {
    struct vcpu base;
    u64 gpr[16]; /* the guest's registers while it does not run; RSP is in the VMCS */
    VMX_LEVEL;
    u32 active_cpu; /* VCPU_NO_CPU: the VMCS is clear */

    u64 exits[EXIT_REASONS];

    struct vmx_event reinject; /* an event whose delivery an exit interrupted */
    struct vmx_event exception;
    u8 mcg_status;    /* IA32_MCG_STATUS */
    bool debug_used;  /* there are breakpoints: DR0-DR3 and DR6 are switched with this vCPU */
    bool configured;  /* the VMCS has been written for the first time */
    u8 apicv;         /* enum vmx_apicv_mode that its VMCS is in */
    u16 spec_ctrl;    /* the guest's IA32_SPEC_CTRL: its upper bits are reserved */
    u8 xsave_frames;  /* of xsave_area */
    u8 cpuid_direct;  /* leaves below are answered from the table of all vCPUs */
    u8 points_met;    /* bit n: the emulated instruction has met breakpoint n */
    u32 strays;       /* accesses to memory that nobody has: guest_physical.c */
    u32 end_flags;    /* with one of these in RFLAGS the end of an emulated instruction is not a plain one: run.c */
    u64 skip_bytes;   /* how far RIP moves behind the instruction that mmio.c emulated, modulo 2^64 */
    u64 eoi_exits[4]; /* the vectors whose EOI exits, as in the VMCS */
    u64 efer;         /* as the guest wrote it last, without LMA: guest_efer() */
    u64 xcr0;
    u64 cr2; /* while this vCPU runs: what it was before a #PF of ours */
    u64 dr[4];
    u64 dr6;
    u64 msrs[VMX_SWITCHED_MSRS];
    struct mtrr mtrr;
    u64 misc_enable;   /* IA32_MISC_ENABLE */
    u32 ple_window;    /* as in the VMCS, if PAUSE loops exit */
    u64 tsc_adjust;    /* IA32_TSC_ADJUST: what the guest has added to its TSC */
    u32 unknown_msrs;  /* accesses to MSRs that do not exist here */
    u32 unknown_msr;   /* the last of them */
    u64 stray_address; /* of the first of the strays */
    u64 stray_rip;
    void *xsave_area;
    struct cpuid_result cpuid_leaf1; /* what this vCPU's CPUID.1 says now */
    struct start_state start;
    struct vmx_debug *debug;            /* debug.c: NULL unless a debugger serves this VM */
    struct nested *nested;              /* vmx/nested/: NULL unless nested=on */
    vmx_inner_physical *inner_physical; /* NULL unless an inner guest with EPT runs */
    struct mmio_slot mmio[MMIO_SLOTS];
    struct vmx_failure failure;
    struct vmx_report report;
    struct vmx_last last;
};

static inline struct vmx_vcpu *vmx_vcpu_of(struct vcpu *vcpu)
{
    return container_of(vcpu, struct vmx_vcpu, base);
}

static inline u64 vmx_vcpu_gpr(const struct vmx_vcpu *v, unsigned index)
{
    return index == GPR_RSP ? vmcs_read(GUEST_RSP) : v->gpr[index];
}

static inline void vmx_vcpu_set_gpr(struct vmx_vcpu *v, unsigned index, u64 value)
{
    if (index == GPR_RSP)
        vmcs_write(GUEST_RSP, value);
    else
        v->gpr[index] = value;
}

/*
 * PAUSE-loop exiting: a PAUSE that comes no later than the gap after the one before belongs to its loop, and a loop
 * that is longer than the window exits. In TSC ticks. A loop has a window of a few hundred turns. SDM 3C 25.1.3
 * "Instructions That Cause VM Exits Conditionally", 24.6.13 "Controls for PAUSE-Loop Exiting"
 */
#define PLE_GAP_TICKS    128u
#define PLE_WINDOW_LEAST 4096u
#define PLE_WINDOW_MOST  65536u

/*
 * INIT has come: the vCPU's state becomes that after INIT, once. Makes it ready to run from its SIPI's vector, or false
 * if none has come yet: it is halted until then.
 */
bool vmx_vcpu_take_sipi(struct vmx_vcpu *v);

#endif
