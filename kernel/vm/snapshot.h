/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots: the whole state of a VM, kept in RAM. Its memory is frozen and shared (layer.h), the rest is copied. A VM
 * goes back to one as often as wanted, and other VMs begin as copies of it. Guest time is real time and goes on: a VM
 * that goes back finds itself later, as one that has been paused does, and what its timers have missed comes at once.
 *
 * All of this runs in the boot CPU's work (sched_set_work()), and so one after the other; only the two requests of
 * guests come from elsewhere. A snapshot outlives its VM, until it is forgotten.
 */
#ifndef ROOTLET_KERNEL_VM_SNAPSHOT_H
#define ROOTLET_KERNEL_VM_SNAPSHOT_H

#include "kernel/vm/vm.h"

#define SNAPSHOT_MAX 64u /* at a time, of all VMs */

/* The name of the snapshot that a guest takes of itself by hypercall, which replaces its last one and ends with it. */
#define SNAPSHOT_GUEST "guest"
/* The name of what snapshot-at= takes; it stays when the VM has ended. */
#define SNAPSHOT_AT "at"

struct snapshot {
    struct snapshot *next;
    char of[VM_NAME_BYTES]; /* the VM */
    char name[VM_NAME_BYTES];
    struct vm_spec spec; /* the VM's */
    u64 taken_ns;        /* guest time */
    u64 restores;        /* of the VM, and clones */
    u64 frames;          /* of this object */
    struct layer *memory;
    const struct vm_board *board;
    u64 start_tsc;
    struct image boot_image;
    char line[VM_CONSOLE_LINE_BYTES];
    u32 line_length;
    u32 caller; /* index of the vCPU whose hypercall took it, or SNAPSHOT_NO_CALLER */
    u32 vm_id;
};
#define SNAPSHOT_NO_CALLER UINT32_MAX

/*
 * The VM is paused. True: it rests, and its debugger stands aside, if there is one, until snapshot_settled(). Else work
 * is asked for when that is so.
 */
bool snapshot_settle(struct vm *vm);
void snapshot_settled(struct vm *vm, bool moved);

/*
 * The VM rests: snapshot_settle(). STATUS_INVALID: the name is in use, or the VM stops. STATUS_WRONG_STATE: for going
 * back, its debugger has stopped it; the boot CPU has left VMX operation. STATUS_NO_MEMORY: *why has the figure. The VM
 * can go on, whatever comes of it.
 */
enum status snapshot_take(struct vm *vm, const char *name, struct refusal *why) MUST_CHECK;
/* Likewise: nothing has changed unless it is STATUS_OK. */
enum status snapshot_restore(struct vm *vm, const struct snapshot *snapshot, struct refusal *why) MUST_CHECK;
/*
 * Another VM, or the same one again after its end, that begins where the snapshot was taken; vm_start() or life_adopt()
 * lets it go. The specification is the snapshot's with another name, and other limits, weight, affinity if wanted. On
 * refusal nothing is held.
 */
enum status snapshot_clone(const struct snapshot *snapshot, const struct vm_spec *spec, u32 id, struct vm **out,
                           struct refusal *why) MUST_CHECK;
/* Whoever was made from it, or goes on from it, keeps what it has. */
void snapshot_forget(const struct snapshot *snapshot);
void snapshot_forget_all(void);

/* NULL: there is none of this VM with this name. */
const struct snapshot *snapshot_find(const char *of, const char *name);
/* The first, or the one after; NULL: there is none. In the order in which they were taken. */
const struct snapshot *snapshot_next(const struct snapshot *last);
/* Frames that would be free without it: its own, and of memory what nobody else uses. */
u64 snapshot_frames(const struct snapshot *snapshot);

/* ---- requests of guests, by hypercall ---- */

/* From the vCPU's exit: it leaves its guest, and its VM is snapshotted or goes back before it enters again. False:
 * there is no snapshot, or another vCPU has just asked. */
bool snapshot_request(struct vcpu *vcpu, enum vm_wish wish) MUST_CHECK;
/*
 * Boot CPU's work, for each VM: does what it wishes, once it rests and has not had more than its share of the CPU.
 * True: it has been done, and vm_resume() is due.
 */
bool snapshot_serve(struct vm *vm, u64 now_tsc);
/* The time (TSC) when the VM has a wish granted that waits for nothing but its share, or UINT64_MAX. */
u64 snapshot_due(const struct vm *vm, u64 now_tsc);
/* The VM has ended, and so goes what it took of itself. */
void snapshot_forget_own(const struct vm *vm);

#endif
