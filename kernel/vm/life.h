/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMs by name, beyond one run of theirs: who there is, and what can be done to each. kernel/start/life.c implements it.
 * Boot CPU only, from its work between guests (sched_set_work), where no lock is held. An operation that is refused
 * changes nothing: STATUS_GONE, the VM has ended; STATUS_WRONG_STATE, it is in no state for that. *why says which, and
 * what to do instead.
 *
 *   running <-> paused --it ends--> stopped, or by restart= or an order: restarting --the delay is over--> running
 */
#ifndef ROOTLET_KERNEL_VM_LIFE_H
#define ROOTLET_KERNEL_VM_LIFE_H

#include "kernel/vm/vm.h"

enum life_state { LIFE_RUNNING, LIFE_PAUSED, LIFE_STOPPED, LIFE_RESTARTING };

#define LIFE_WORDS_BYTES 2048u
#define LIFE_NO_MODULE   UINT32_MAX

/* Others read it. Good until the boot CPU's work returns or starts something. */
struct life {
    struct vm_spec spec;   /* what the next run is made from; life_set() changes both this and the run's */
    enum life_state state; /* paused: as ordered; vm_is_at_rest() says whether all its vCPUs are */
    struct vm *vm;         /* its run, or its last one: devices and memory are gone then, statistics are there */
    u32 restarts;          /* how often it has been started again */
    u32 module;            /* the boot module that it is made from: life_module(); LIFE_NO_MODULE: it was adopted */
    bool stopping;         /* the power button is pressed, or it is being killed */

    /* For kernel/start/life.c alone. */
    struct life *next;
    u32 id;
    u32 by_policy;                /* restarts by restart= since it was last started by order */
    bool again;                   /* ordered: starts again as soon as it has ended */
    bool added;                   /* at run time: forgotten when there are too many of them */
    u64 delay_ns;                 /* before the next restart by restart= */
    u64 restart_tsc;              /* restarting: when */
    u64 force_tsc;                /* stopping: when it is killed; UINT64_MAX: never */
    const char *loaded_name;      /* whose initrd and modules it gets: the name in its boot module's line */
    char words[LIFE_WORDS_BYTES]; /* its command line, if it is not the boot module's */
};

/* In the order in which they came; NULL begins, and ends. */
struct life *life_next(struct life *after);
struct life *life_find(const char *name);
const char *life_state_name(enum life_state state);

/* Completion: vm_is_at_rest(life->vm). The boot CPU's work is asked for when it is reached. */
COLD enum status life_pause(struct life *life, struct refusal *why) MUST_CHECK;
COLD enum status life_resume(struct life *life, struct refusal *why) MUST_CHECK;
/*
 * Presses the ACPI power button. After `force_ms` the VM is killed if it still runs; 0: it is left alone. No restart=
 * follows. A VM that waits for its restart is stopped at once.
 */
COLD enum status life_stop(struct life *life, u64 force_ms, struct refusal *why) MUST_CHECK;
/* Ends it with reason=killed, paused or not; no restart= follows. */
COLD enum status life_kill(struct life *life, struct refusal *why) MUST_CHECK;
/* Ends the run, if there is one, and starts the next at once; life->restarts counts it. */
COLD enum status life_restart(struct life *life, struct refusal *why) MUST_CHECK;
/* An NMI to its first vCPU. */
COLD enum status life_nmi(struct life *life, struct refusal *why) MUST_CHECK;
/*
 * key: weight, cap, affinity or limit, with the values of the module line's keys; also cap=none and limit=none. For
 * this run and those after it.
 */
COLD enum status life_set(struct life *life, const char *key, const char *value, struct refusal *why) MUST_CHECK;
/*
 * Makes a VM of the boot module `module` ("1" is the first; or the name in its line) and starts it. Its keys are the
 * module line's, with `words` ("mem=16M cpus=2 -- init=/bin/sh") in their stead; so is what follows " -- ". A stopped
 * VM of that name is replaced. Returns when it runs; meanwhile guests get their turns. STATUS_INVALID and what
 * vm_create() says: nothing was started.
 */
COLD enum status life_start(const char *name, const char *module, const char *words, struct life **out,
                            struct refusal *why) MUST_CHECK;
/* Whether a VM of this name can be started, or taken in. */
COLD enum status life_check_name(const char *name, struct refusal *why) MUST_CHECK;
/*
 * Takes in a VM that was made otherwise (a clone) and not yet started, and starts it; vm->spec.name is its name. There
 * is no image of it to start again from: neither restart= nor life_restart() does.
 */
COLD enum status life_adopt(struct vm *vm, struct life **out, struct refusal *why) MUST_CHECK;
/* An id for such a VM. */
u32 life_new_id(void);

/* The boot modules. False: there is no number `index`, from 0. */
struct life_module {
    const char *line; /* as the boot loader gave it */
    const char *name; /* "" if the line names no VM */
    enum vm_role role;
    u64 bytes;
};
COLD bool life_module(u32 index, struct life_module *out) MUST_CHECK;

/* idle=monitor: while it is true, the machine goes on though its last VM has ended. */
void life_keep_up(bool keep);
/* Every VM is stopped as by life_stop(); the machine ends when all have ended and nothing keeps it up. */
COLD void life_stop_all(u64 force_ms);

#endif
