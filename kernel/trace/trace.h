/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The flight recorder: per CPU a ring of the last exits and entries, and a smaller one of what else happened. Always
 * on; written by the owner alone, with interrupts off, and read by anyone who can bear a record that is just being
 * written. The records' layout is an interface: docs/trace.md, tools/trace. Formatting happens elsewhere, later.
 */
#ifndef ROOTLET_KERNEL_TRACE_TRACE_H
#define ROOTLET_KERNEL_TRACE_TRACE_H

#include "arch/x86/percpu.h"
#include "kernel/vm/vm.h"

#define TRACE_VERSION       1u
#define TRACE_EXIT_RECORDS  4096u /* of a CPU */
#define TRACE_EVENT_RECORDS 1024u

struct trace_record {
    union {
        u64 tsc; /* the host's, at the exit or event */
        struct {
            u32 tsc_low, tsc_high;
        };
    };
    u64 rip;       /* the guest's, at the exit; of an event: its first argument */
    u64 detail;    /* by cause: docs/trace.md */
    u32 entry_tsc; /* low half of the host's TSC at the next VM entry, or when the guest was left */
    union {
        struct {
            u16 vcpu;  /* VM number << 4 | index: trace_tag() */
            u8 cause;  /* below 128 the basic exit reason, else enum trace_cause */
            u8 action; /* enum trace_action, or from 16 on the vector of the interrupt that the entry delivers */
        };
        u32 tag; /* all four at once: cause and action 0 */
    };
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
    TRACE_VM_CREATE = 142,    /* this CPU begins to make a VM; vcpu: 0; detail: its number */
    TRACE_VM_END = 143,       /* this CPU begins a piece of the report and end of a VM, or of a vCPU; likewise */
    TRACE_VM_DONE = 144,      /* it has done either; likewise */
};

enum trace_action {
    TRACE_SKIP = 0,         /* the instruction is done: entered behind it */
    TRACE_RESUME = 1,       /* entered at the same RIP */
    TRACE_SKIP_DECODED = 2, /* as TRACE_SKIP, by the length that our decoder found */
    TRACE_STOP = 3,         /* the VM was stopped */
    TRACE_LEFT = 4,         /* the guest was left for the scheduler */
    TRACE_DELIVER_LOW = 5,  /* the entry delivers an interrupt with a vector below 16 */
    /* Of a vCPU whose guest is a hypervisor: who runs now. */
    TRACE_TO_INNER = 6,      /* its inner guest is entered; of TRACE_ENTER: likewise, it was left there */
    TRACE_TO_HYPERVISOR = 7, /* the guest hypervisor gets a VM exit */
};

enum trace_leave { TRACE_LEAVE_PREEMPTED, TRACE_LEAVE_BLOCKED, TRACE_LEAVE_STOPPED };

/* Who it is: `tag` with cause and action 0. VMs are numbered from 1; those beyond 4095 share numbers. */
static inline u32 trace_number_of_id(u32 id)
{
    return (id + 1) & 0xfff;
}

static inline u32 trace_vm_number(const struct vm *vm)
{
    return trace_number_of_id(vm->id);
}

static inline u32 trace_tag(const struct vm *vm, u32 index)
{
    return trace_vm_number(vm) << 4 | index;
}

/*
 * A CPU's two rings lie one behind the other, each on a boundary of twice its size, so that one bit cleared wraps a
 * ring's end to its beginning; GS has the place of the last record of each.
 */
#define TRACE_EXIT_BYTES  (TRACE_EXIT_RECORDS * sizeof(struct trace_record))
#define TRACE_EVENT_BYTES (TRACE_EVENT_RECORDS * sizeof(struct trace_record))
_Static_assert(TRACE_EXIT_BYTES % (2 * TRACE_EVENT_BYTES) == 0, "the second ring begins where the first one ends");

/* The record of this CPU's last exit (or TRACE_ENTER). */
static ALWAYS_INLINE struct trace_record *trace_last(void)
{
    return CPU_LOCAL_GET(trace_exit);
}

/* The record behind `last`, with TSC and tag. */
static ALWAYS_INLINE struct trace_record *trace_next(struct trace_record *last, u64 ring_bytes, u32 tag)
{
    struct trace_record *record = (struct trace_record *)((uintptr_t)(last + 1) & ~(uintptr_t)ring_bytes);
    u32 low, high;

    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    record->tsc_low = low;
    record->tsc_high = high;
    record->tag = tag;
    return record;
}

/* Begins the record of an exit; the caller writes rip, cause and, where docs/trace.md gives it one, detail. */
static ALWAYS_INLINE struct trace_record *trace_begin(u32 tag)
{
    struct trace_record *record = trace_next(trace_last(), TRACE_EXIT_BYTES, tag);

    CPU_LOCAL_SET(trace_exit, record);
    return record;
}

/* Gives each CPU that is up its rings, once. STATUS_NO_MEMORY: *why says how much they take. */
enum status trace_init(struct refusal *why) MUST_CHECK;
/* Something else than an exit. vcpu: NULL if it concerns none. This CPU, interrupts off, not in NMI context. */
void trace_event(enum trace_cause cause, const struct vcpu *vcpu, u64 detail);

struct trace_ring {
    const struct trace_record *records; /* NULL: the CPU records nothing yet */
    u32 size;                           /* a power of two */
    u32 newest;
};
/* A CPU's ring of exits or of events as it is now; its owner may go on writing. */
struct trace_ring trace_ring(u32 cpu, bool events);

/* ---- text.c ---- */

#define TRACE_LAST       32u  /* records that a report has */
#define TRACE_LINE_BYTES 320u /* of a line's text, with its NUL */

/* The last records, newest first. */
struct trace_story {
    struct trace_record records[TRACE_LAST];
    u8 cpus[TRACE_LAST];
    u32 count;
};

/* Those of the VM (NULL: of all). Any CPU; what other CPUs write meanwhile may be missing or garbled. */
void trace_collect(const struct vm *vm, struct trace_story *last);
/*
 * Hands the oldest of them as a line of text to `emit`, and takes it out. folded: for somebody who looks for the cause
 * of the VM's end, with those that repeat it. False: there was none left.
 */
bool trace_print_oldest(struct trace_story *last, bool folded, const struct vm *vm, void (*emit)(const char *text));
/* The last `count` records, TRACE_LAST at most, oldest first, a line each. */
void trace_print_newest(const struct vm *vm, u32 count, void (*emit)(const char *text));
/* "#UD" and its like; "unknown" of a vector that is no exception's. */
const char *trace_vector_name(u8 vector);
/* All records of all CPUs as text (docs/trace.md, "As text"); at the end, when no CPU records any more. `vms`: for the
 * names. */
void trace_print_all(const struct vm *vms, void (*emit)(const char *text));

#endif
