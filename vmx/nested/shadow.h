/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tables through which the CPU runs inner guests whose hypervisor uses EPT: its map of their memory and ours of its
 * memory, combined. A cache, as a TLB is one: filled by EPT violations, dropped by INVEPT, and all of it when it is
 * full. Each vCPU has its own, as each logical processor has a TLB of its own, so there is no lock. SDM 3C 28.2 "The
 * Extended Page Table Mechanism (EPT)", 28.3.3 "Invalidating Cached Translation Information".
 */
#ifndef ROOTLET_VMX_NESTED_SHADOW_H
#define ROOTLET_VMX_NESTED_SHADOW_H

#include "arch/x86/percpu.h"
#include "kernel/vm/vm.h"
#include "vmx/caps.h"

#define SHADOW_ROOTS 4u

/* An EPT of the guest's, and what was made of it. Its top level is the frame of the same number in the pool. */
struct shadow_root {
    u64 eptp;      /* the address and bit 6 of the guest's; SHADOW_UNUSED */
    u32 last_used; /* by the clock of struct shadow */
    u16 slots;     /* entries of the top level from here on are 0 */
    u16 first;     /* of its other tables, in links; 0: none */
    u16 last;
};

struct shadow {
    const struct guest_memory *memory;
    u64 reserved; /* address bits that the guest's CPU does not have */
    u64 caps;     /* IA32_VMX_EPT_VPID_CAP as it was offered */
    hpa_t pool;
    u16 *links;      /* behind the pool, for each of its frames the next of its list, 0 at the end */
    u16 clean;       /* the list of those that were dropped and are zero again */
    u16 dirty;       /* and of those that are not */
    u16 fresh;       /* frames from here on were never used, and are zero */
    u16 frames;      /* of the pool */
    u16 link_frames; /* that links takes */
    u32 cpu;         /* the one that flushed last */
    u32 clock;       /* counts uses of roots */
    u8 stale;        /* a bit for each root of which the CPU may know more than stands there */
    struct shadow_root root[SHADOW_ROOTS];
};

/* STATUS_NO_MEMORY: nothing is held. *frames: how many it takes. `caps`: what the guest was offered. */
COLD enum status shadow_create(struct shadow *s, const struct vm *vm, const struct vmx_caps *caps,
                               u32 *frames) MUST_CHECK;
COLD void shadow_destroy(struct shadow *s);

/* The EPTP that runs an inner guest whose EPTP is `eptp`: good until the next call for another one. */
u64 shadow_pointer(struct shadow *s, u64 eptp);

enum shadow_result {
    SHADOW_FILLED,           /* it is mapped now, or something has changed meanwhile: enter again */
    SHADOW_VIOLATION,        /* of the guest's EPT; fault->qualification has bits 5:0 */
    SHADOW_MISCONFIGURATION, /* likewise */
    SHADOW_NO_MEMORY         /* the guest's EPT allows it; at fault->physical the VM has no memory, or ROM and it
                                is a write */
};
struct shadow_fault {
    u64 qualification; /* bits 2:0 the access, 5:3 what all entries allow. SDM 3C 27.2.1 table 27-7 */
    u64 physical;      /* guest-physical as the guest hypervisor has it */
};
/*
 * After an EPT violation of the inner guest at `address`; `access`: bits 2:0 of the exit qualification. Sets accessed
 * and dirty flags in the guest's EPT if its EPTP asks for them.
 */
enum shadow_result shadow_violation(struct shadow *s, u64 eptp, u64 address, u64 access,
                                    struct shadow_fault *fault) MUST_CHECK;

/* INVEPT of a single context, and of all. */
void shadow_forget(struct shadow *s, u64 eptp);
void shadow_forget_all(struct shadow *s);

void shadow_flush(struct shadow *s);
/* Before each entry of an inner guest with EPT: the CPU forgets what was dropped, or changed on another CPU. */
static inline void shadow_prepare(struct shadow *s)
{
    if (UNLIKELY(s->stale) || UNLIKELY(s->cpu != cpu_id()))
        shadow_flush(s);
}

/*
 * What an access of ours on behalf of the inner guest comes to, as vmx_inner_physical has it: SHADOW_FILLED:
 * fault->physical is the address, and what is there, if anything, was not looked at. With `flags` accessed and dirty
 * flags are set as the CPU would.
 */
COLD enum shadow_result shadow_translate(const struct shadow *s, u64 eptp, u64 address, u64 access, bool flags,
                                         struct shadow_fault *fault) MUST_CHECK;

#endif
