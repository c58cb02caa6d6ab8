/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events for the guest: which one goes in with the next VM entry, and which window exit to arm for the rest.
 * SDM 3C 24.8.3 "VM-Entry Controls for Event Injection", 26.5 "Event Injection".
 */
#ifndef ROOTLET_VMX_EVENT_H
#define ROOTLET_VMX_EVENT_H

#include "vmx/outcome.h"
#include "vmx/vcpu.h"

#define EVENT_VALID              0x80000000u
#define EVENT_HAS_ERROR          0x00000800u
#define EVENT_TYPE(info)         ((info) >> 8 & 7)
#define EVENT_TYPE_EXTERNAL      0u
#define EVENT_TYPE_NMI           2u
#define EVENT_TYPE_EXCEPTION     3u
#define EVENT_TYPE_SOFT_INT      4u
#define EVENT_TYPE_PRIV_SOFT_EXC 5u
#define EVENT_TYPE_SOFT_EXC      6u
#define EVENT_TYPE_OTHER         7u

#define INTERRUPTIBILITY_STI        0x1u
#define INTERRUPTIBILITY_MOV_SS     0x2u
#define INTERRUPTIBILITY_STI_MOV_SS 0x3u
#define INTERRUPTIBILITY_NMI        0x8u
#define PENDING_DEBUG_ENABLED       BIT(12)
#define PENDING_DEBUG_SINGLE_STEP   BIT(14)
#define PENDING_DEBUG_VALID         (PENDING_DEBUG_ENABLED | PENDING_DEBUG_SINGLE_STEP)
#define SEGMENT_LONG                0x2000u /* access rights: CS.L */
#define SEGMENT_BIG                 0x4000u /* CS.D, SS.B */
#define SEGMENT_DPL                 0x60u   /* SS.DPL is the CPL */

/* Among the windows, but no exit: a debug trap is pending, which an entry that injects something would lose. */
#define EVENT_TRAP_FIRST BIT(0)

struct event_inputs {
    bool reinject;  /* an event whose delivery an exit interrupted */
    bool exception; /* an exception that our emulation raises */
    bool nmi;
    bool external;        /* the interrupt controller asserts INTR */
    bool trap;            /* a debug trap is pending */
    bool interrupt_flag;  /* RFLAGS.IF */
    u32 interruptibility; /* guest interruptibility state */
};

enum event_kind { EVENT_NONE, EVENT_REINJECT, EVENT_EXCEPTION, EVENT_NMI, EVENT_EXTERNAL };

struct event_choice {
    enum event_kind kind;
    u32 windows; /* PROC_INTERRUPT_WINDOW, PROC_NMI_WINDOW: exit as soon as what waits could be taken; EVENT_TRAP_FIRST
                  */
};

/* Pure. One event per entry; what must wait arms its window. */
static inline struct event_choice vmx_event_choose(const struct event_inputs *in)
{
    struct event_choice choice = {.kind = EVENT_NONE};

    if (in->reinject)
        choice.kind = EVENT_REINJECT;
    else if (in->exception)
        choice.kind = EVENT_EXCEPTION;
    else if (in->trap)
        choice.windows = EVENT_TRAP_FIRST;
    else if (in->nmi && !(in->interruptibility & (INTERRUPTIBILITY_NMI | INTERRUPTIBILITY_STI_MOV_SS)))
        choice.kind = EVENT_NMI;
    else if (in->external && in->interrupt_flag && !(in->interruptibility & INTERRUPTIBILITY_STI_MOV_SS))
        choice.kind = EVENT_EXTERNAL;
    if (in->nmi && choice.kind != EVENT_NMI)
        choice.windows |= PROC_NMI_WINDOW;
    if (in->external && choice.kind != EVENT_EXTERNAL)
        choice.windows |= PROC_INTERRUPT_WINDOW;
    return choice;
}
/* Blocking by STI or MOV SS ends with the instruction. SDM 3C 24.4.2 "Guest Non-Register State" */
COLD void vmx_event_end_blocking(void);
/* A debug trap is pending in the VMCS: it comes before NMIs and interrupts. SDM 3A 6.9, table 6-2. */
COLD void vmx_event_trap_first(struct vmx_vcpu *v);
/* The same of what the guest itself has, and of an NMI and of an interrupt that wait only if these are true. */
NOINLINE void vmx_event_choose_of(struct vmx_vcpu *v, bool nmi, bool external);
/* The vector of the interrupt that the guest's controllers give now. Precondition: vm_interrupt_pending(). */
NOINLINE u8 vmx_event_acknowledge(struct vmx_vcpu *v);
/* Chooses and writes the VM-entry fields and the window controls of the current VMCS. */
void vmx_event_prepare(struct vmx_vcpu *v);
/*
 * An event that was prepared, but the vCPU left its CPU instead of entering: makes room for the next choice, in which
 * it comes first. An acknowledged interrupt would be lost otherwise.
 */
void vmx_event_take_back(struct vmx_vcpu *v);
/* RFLAGS.RF, which an exception of the fault class pushes, is set in the guest for that. */
void vmx_event_set_resume_flag(const struct vmx_event *event);
/* QUIRK_NMI_BLOCKING: an NMI is in service that did not come by vmx_event_choose_of(). */
COLD void vmx_event_follow_nmi(struct vmx_vcpu *v);
/* After an exit that can interrupt an event's delivery: keeps that event for the next entry. */
void vmx_event_save_interrupted(struct vmx_vcpu *v);
/*
 * What an EPT violation, of this qualification, stood in the way of has been made possible: the instruction runs again,
 * and so does the delivery of an event that the exit interrupted.
 */
COLD enum outcome vmx_event_run_again(struct vmx_vcpu *v, u64 qualification);

/*
 * The faults of SDM 3A 6.3.1 "External Interrupts", table 6-1 "Protected-Mode Exceptions and Interrupts", that exit
 * with QUIRK_EXCEPTION_RIP only; #DB and #AC always do.
 */
#define VMX_FAULTS                                                                                                     \
    (BIT(VECTOR_DE) | BIT(VECTOR_BR) | BIT(VECTOR_UD) | BIT(VECTOR_NM) | BIT(VECTOR_TS) | BIT(VECTOR_NP) |             \
     BIT(VECTOR_SS) | BIT(VECTOR_GP) | BIT(VECTOR_PF) | BIT(VECTOR_MF) | BIT(VECTOR_XM))

/* Queues an exception for the next entry. Vectors with an error code are those of SDM 3A 6.13 "Error Code". */
void vmx_inject_exception(struct vmx_vcpu *v, u8 vector, u32 error_code);
/*
 * The same for an exception that came while the event `first`, as in the IDT-vectoring information, was being
 * delivered: it may make a double fault of the two. False: that was one already, and the CPU shuts down.
 */
COLD bool vmx_inject_nested(struct vmx_vcpu *v, u32 first, u8 vector, u32 error_code) MUST_CHECK;
static inline enum outcome vmx_inject_ud(struct vmx_vcpu *v)
{
    vmx_inject_exception(v, 6, 0);
    return OUTCOME_RESUME;
}
static inline enum outcome vmx_inject_gp(struct vmx_vcpu *v)
{
    vmx_inject_exception(v, 13, 0);
    return OUTCOME_RESUME;
}

#endif
