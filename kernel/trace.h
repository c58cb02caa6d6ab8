/*
 * The flight recorder: per CPU a ring of the last exits and entries, and a smaller one of what else happened. Always on;
 * written by the owner alone, with interrupts off, and read by anyone who can bear a record that is just being written.
 * The records' layout is an interface: docs/trace.md, tools/trace. Formatting happens elsewhere, later.
 */
#ifndef ROOTLET_KERNEL_TRACE_H
#define ROOTLET_KERNEL_TRACE_H

#include "arch/x86/percpu.h"
#include "kernel/lib/bits.h"

#define TRACE_VERSION       1u
#define TRACE_EXIT_RECORDS  4096u /* of a CPU */
#define TRACE_EVENT_RECORDS 1024u

struct trace_record {
    u64 tsc;       /* the host's, at the exit or event */
    u64 rip;       /* the guest's, at the exit; of an event: its first argument */
    u64 detail;    /* by cause: docs/trace.md */
    u32 entry_tsc; /* low half of the host's TSC at the next VM entry, or when the guest was left */
    u16 vcpu;      /* VM id << 4 | index: trace_vcpu() */
    u8 cause;      /* below 128 the basic exit reason, else enum trace_cause */
    u8 action;     /* what was done: enum trace_action, or from 16 on the vector of the interrupt that the entry delivers */
};
_Static_assert(sizeof(struct trace_record) == 32, "the layout is an interface");

/* What is no exit. Values are part of the interface: add, never renumber. */
enum trace_cause {
    TRACE_ENTER = 128,        /* in the ring of exits: a vCPU gets this CPU; detail: ticks it has */
    TRACE_LEAVE = 129,        /* the vCPU gives the CPU up; detail: enum trace_leave */
    TRACE_WAKE = 130,         /* a blocked vCPU is ready */
    TRACE_MIGRATE = 131,      /* a vCPU goes to CPU `detail` */
    TRACE_INJECT = 132,       /* the next entry delivers an exception or an NMI; detail: interruption information */
    TRACE_KICK = 133,         /* this CPU interrupts CPU `detail` */
    TRACE_SLEEP = 134,        /* this CPU halts; detail: host TSC of its next wake-up, all ones: none */
    TRACE_AWAKE = 135,        /* it has been woken */
    TRACE_VM_START = 136,     /* index of vcpu: 0 */
    TRACE_VM_STOP = 137,      /* detail: enum vm_stop_reason */
    TRACE_INIT = 138,         /* the vCPU is sent INIT */
    TRACE_SIPI = 139,         /* the vCPU is sent SIPI; detail: vector */
    TRACE_NMI = 140,          /* the vCPU is sent an NMI */
    TRACE_ENTRY_FAILED = 141, /* VMLAUNCH or VMRESUME failed; detail: VM-instruction error, 0: VMfailInvalid */
};

enum trace_action {
    TRACE_SKIP = 0,         /* the instruction is done: entered behind it */
    TRACE_RESUME = 1,       /* entered at the same RIP */
    TRACE_SKIP_DECODED = 2, /* as TRACE_SKIP, by the length that our decoder found */
    TRACE_STOP = 3,         /* the VM was stopped */
    TRACE_LEFT = 4,         /* the guest was left for the scheduler */
};

enum trace_leave { TRACE_LEAVE_PREEMPTED, TRACE_LEAVE_BLOCKED, TRACE_LEAVE_STOPPED };

#endif
