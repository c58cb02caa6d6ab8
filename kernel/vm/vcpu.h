/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtual CPU as policy sees it: its state, its place in a queue, its time. The VMX half (struct vmx_vcpu) contains
 * this.
 *
 *   waiting --start--> ready --pick--> running --slice ends--> ready
 *                        ^                |-- HLT, sleep, cap --> blocked --event, deadline--> ready
 *   ready --the debugger or the monitor wants it--> paused --nobody does--> ready, blocked
 *   any --its VM stops--> stopped (for good)
 *
 * Invariant: only the home CPU touches a vCPU's queue links, deadline and VMCS. Other CPUs set bits in `requests` and
 * kick.
 */
#ifndef ROOTLET_KERNEL_VM_VCPU_H
#define ROOTLET_KERNEL_VM_VCPU_H

#include "kernel/lib/heap.h"
#include "kernel/vm/apic_port.h"
#include "kernel/vm/posted.h"
#include "kernel/vm/vtimer.h"

struct vm;

enum vcpu_state { VCPU_WAITING, VCPU_READY, VCPU_RUNNING, VCPU_BLOCKED, VCPU_PAUSED, VCPU_STOPPED };

/* What the debugger wants: paused as soon as it can be, or once it is in HLT (a step that ends there). */
enum vcpu_pause { VCPU_PAUSE_NOT, VCPU_PAUSE_NOW, VCPU_PAUSE_AT_HALT };

/* Bits of vcpu.requests: what the running CPU must look at before its next VM entry. */
#define VCPU_REQUEST_EVENT      1u  /* an interrupt line, an exception or a window: choose an event to inject */
#define VCPU_REQUEST_RESCHEDULE 2u  /* leave the guest and ask the scheduler */
#define VCPU_REQUEST_DEADLINE   4u  /* timers changed: compute the deadline anew */
#define VCPU_REQUEST_HALT       8u  /* HLT: leave unless an event ends it at once */
#define VCPU_REQUEST_INIT       16u /* INIT: back to the reset state, then wait for SIPI */

#define VCPU_NO_CPU UINT32_MAX

/*
 * INIT makes any of these "waits", a SIPI turns "waits" into "has", and the vCPU, on its home CPU, "has" into "runs".
 * It is one word, so that an INIT or a SIPI that comes meanwhile is never lost. SDM 3A 8.4.3 "MP Initialization
 * Protocol Algorithm for MP Systems"
 */
#define VCPU_RUNS           0u                     /* a SIPI means nothing to it */
#define VCPU_WAITS_FOR_SIPI 1u                     /* so does each vCPU but the first at power-up */
#define VCPU_HAS_SIPI       2u                     /* and more: plus the vector */
#define VCPU_HAS_START      (VCPU_HAS_SIPI + 256u) /* it is fresh, and has a start state */

struct vcpu {
    union {
        struct {
            u32 requests; /* atomic */
            u32 windows;  /* window exits that are armed: an event waits for the guest to allow it */
        };
        u64 requests_or_windows; /* nothing of either, in one look */
    };
    struct vm *vm;
    enum vcpu_state state;
    u32 index;
    u32 trace_tag; /* who it is in the flight recorder: trace_tag() */
    u32 home_cpu;
    u32 hypercalls; /* how many there are for this vCPU: 0 if its VM is stealthy */
    u32 started;    /* atomic: set by the one who starts it, or retires it unstarted */

    u64 deadline_tsc;  /* leave the guest by then: the earliest of slice, limit, timers and this CPU's sleepers */
    u64 slice_end_tsc; /* end of slice, of the VM's limit or of its cap, whichever is first */
    u64 timer_ns;      /* the earliest of `timers` when it was last looked at... */
    u64 timer_tsc;     /* ... and as a host TSC value */

    bool init_taken;     /* it waits for SIPI, and its state is that after INIT */
    bool fresh;          /* started, but its VM went back to before that: as if it had not been */
    bool halted;         /* in HLT: an interrupt makes it ready */
    bool halted_masked;  /* in HLT with interrupts off: only an NMI ends it */
    bool halted_counted; /* counted in its VM's halted_count: blocked, and nothing of its own could wake it */
    bool yielded;
    u32 sipi;               /* atomic: VCPU_RUNS, VCPU_WAITS_FOR_SIPI or VCPU_HAS_SIPI */
    u32 load_weight;        /* of its VM, as its CPU's load has it */
    u32 wanted_on;          /* atomic: the CPU, plus 1, on which another vCPU of its VM spins for it; 0: none */
    u64 asked_slice;        /* in which of its slices it has last asked for another CPU's vCPU */
    u32 yielded_to;         /* the index that its last directed yield was for */
    bool waits_for_console; /* its sleep is for the console, and ends early for an interrupt */
    u64 sleep_until_tsc;    /* blocked at least so long: sleep hypercall or console backlog; 0: no */

    struct vcpu *next;     /* the home CPU's queue of ready vCPUs, or its list of paused ones */
    struct vcpu *news;     /* its list of blocked vCPUs that somebody has something for */
    bool has_news;         /* it is in that list */
    struct heap_node wake; /* blocked; the key: TSC when to look again, UINT64_MAX for only by request */
    u64 vruntime;          /* weighted run time, in TSC ticks at weight 100 */
    u64 block_tsc;         /* when it blocked */
    u64 period_tsc;        /* cap: start of the current period */
    u64 period_used_tsc;
    u64 window;     /* which one `window_tsc` is of: note_use() in sched.c */
    u64 window_tsc; /* run time in it */
    bool is_busy;   /* it counts among its VM's busy vCPUs in that window */
    bool throttled;
    u8 pause;          /* atomic, enum vcpu_pause: the debugger's wish; any CPU sets it, the home CPU obeys */
    bool held;         /* atomic, likewise: its VM is paused as a whole */
    bool rests;        /* atomic: held and paused, with its VMCS clear */
    bool debugged;     /* home CPU: paused, and the debugger knows */
    bool let_go;       /* atomic: paused, and to go on; even if it is wanted again at once */
    bool nmi_waiting;  /* atomic */
    bool init_blocked; /* the VM's lock: in VMX operation of its own, which INIT does not end */
    bool init_waiting; /* atomic: one came meanwhile */
    bool retired;      /* atomic: its report is over and its VMCS clear */

    u64 run_tsc;   /* total time in the guest and in its exits */
    u64 slept_tsc; /* total time blocked */
    u32 slices;
    u32 migrations;
    u32 wakes;    /* ends of HLT and of other sleep */
    u32 injected; /* events that an entry delivered; what the CPU delivers by itself is not counted */

    u64 tsc_offset; /* what is added to the host's TSC */

    struct cpu_apic apic;
    struct posted_requests *posted;
    struct vtimer_set timers;
};

static inline void vcpu_request(struct vcpu *vcpu, u32 bits)
{
    __atomic_fetch_or(&vcpu->requests, bits, __ATOMIC_SEQ_CST);
}

#endif
