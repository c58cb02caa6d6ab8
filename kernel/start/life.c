/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMs by name: runs begin and end here, again if restart= or somebody at the console wants so. A run's end comes from
 * any CPU, and only sets a flag; all else is the boot CPU's work between guests. Each VM here is a frame of its own.
 */
#include "kernel/vm/life.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "kernel/clock.h"
#include "kernel/frames.h"
#include "kernel/lib/string.h"
#include "kernel/log.h"
#include "kernel/monitor/monitor.h"
#include "kernel/sched/sched.h"
#include "kernel/start/life.h"
#include "kernel/start/vms.h"
#include "kernel/virt.h"
#include "kernel/vm/snapshot.h"

#define PIECE_NS         1000000ull
#define FIRST_DELAY_NS   1000000000ull
#define LONGEST_DELAY_NS 60000000000ull
#define GOOD_RUN_NS      60000000000ull
#define MAX_STOPPED      64u /* of those that were added at run time: the first to come go first */

_Static_assert(sizeof(struct life) <= FRAME_BYTES, "a frame each");

static struct life *lives; /* in the order in which they came */
static struct life **last_life = &lives;
static u32 next_id;
static u32 running = 1; /* atomic: VMs that run or wait for a restart, and one for each who keeps the machine up */
static bool kept_up;
static bool restarts_at_once; /* test=, which also says what each hundred runs cost */
static u64 making_tsc;
static u32 runs;

/* ---- the list ---- */

struct life *life_next(struct life *after)
{
    return after ? after->next : lives;
}

struct life *life_find(const char *name)
{
    struct life *life = lives;

    while (life && !string_equal(life->spec.name, name))
        life = life->next;
    return life;
}

const char *life_state_name(enum life_state state)
{
    static const char *const names[] = {[LIFE_RUNNING] = "running",
                                        [LIFE_PAUSED] = "paused",
                                        [LIFE_STOPPED] = "stopped",
                                        [LIFE_RESTARTING] = "restarting"};

    return names[state];
}

u32 life_new_id(void)
{
    return next_id++;
}

static COLD struct life *add(const struct vm_spec *spec, struct refusal *why)
{
    hpa_t frame;

    if (frames_allocate(1, 1, &frame) != STATUS_OK) {
        refuse(why, STATUS_NO_MEMORY, "no memory for the VM object: %lu frames are free", frames_free_count());
        return NULL;
    }
    struct life *life = phys_to_virt(frame);
    life->spec = *spec;
    life->state = LIFE_STOPPED;
    life->restart_tsc = life->force_tsc = UINT64_MAX;
    life->delay_ns = FIRST_DELAY_NS;
    *last_life = life;
    last_life = &life->next;
    return life;
}

/* Its last run's object goes, too. */
static COLD void forget(struct life *life)
{
    struct life **at = &lives;

    while (*at != life)
        at = &(*at)->next;
    *at = life->next;
    if (last_life == &life->next)
        last_life = at;
    if (life->vm) {
        vms_report(life->vm);
        monitor_forget(life->vm);
        vm_destroy(life->vm);
    }
    frames_free(virt_to_phys(life), 1);
}

static COLD void forget_oldest(void)
{
    struct life *oldest = NULL;
    u32 count = 0;

    for (struct life *life = lives; life; life = life->next) {
        if (!life->added || life->state != LIFE_STOPPED)
            continue;
        oldest = oldest ? oldest : life;
        count++;
    }
    if (count > MAX_STOPPED)
        forget(oldest);
}

struct vm *life_list_runs(void)
{
    struct vm *first = NULL;
    struct vm **at = &first;

    for (struct life *life = lives; life; life = life->next) {
        if (!life->vm)
            continue;
        *at = life->vm;
        at = &life->vm->next;
    }
    *at = NULL;
    return first;
}

void life_forget_all(void)
{
    snapshot_forget_all();
    while (lives)
        forget(lives);
}

/* ---- whether the machine goes on ---- */

void life_begin(void)
{
    __atomic_fetch_add(&running, 1, __ATOMIC_SEQ_CST);
}

void life_end(void)
{
    if (__atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST) == 0)
        sched_finish();
}

void life_keep_up(bool keep)
{
    if (keep == kept_up)
        return;
    kept_up = keep;
    if (keep)
        life_begin();
    else
        life_end();
}

/* ---- runs ---- */

/* The next run takes over what the last one has counted. */
static COLD void replace_run(struct life *life, struct vm *vm)
{
    struct vm *old = life->vm;

    life->vm = vm;
    if (!old)
        return;
    vm->before = vm_sums(old);
    virt_vm_carry_statistics(vm, old);
    vm_carry_kept(vm, old);
    monitor_forget(old);
    vm_destroy(old);
}

static void enter_run(struct life *life)
{
    life->state = LIFE_RUNNING;
    life->stopping = life->again = false;
    life->force_tsc = life->restart_tsc = UINT64_MAX;
    vm_start(life->vm);
}

/* What ended VMs have left must be clean before anybody can have it; idle CPUs may be at it, too. */
static COLD void clean_memory(void)
{
    while (frames_clean_piece())
        sched_share_cpu();
}

static COLD void note_cost(u64 tsc)
{
    making_tsc += tsc;
    if (++runs % 100 || !restarts_at_once)
        return;
    log_event("test runs=%u ticks=%lu frames=%lu", runs, making_tsc / 100, frames_free_count());
    making_tsc = 0;
}

static COLD enum status begin_run(struct life *life, struct refusal *why)
{
    struct vm *vm;
    bool again = life->vm;
    u64 start = cpu_tsc();

    clean_memory();
    enum status status = vms_make(life, again ? life->restarts + 1 : 0, &vm, why);
    if (status != STATUS_OK)
        return status;
    life->restarts += again;
    replace_run(life, vm);
    note_cost(cpu_tsc() - start);
    enter_run(life);
    return STATUS_OK;
}

static COLD void begin_restart(struct life *life)
{
    struct refusal why;

    life->restart_tsc = UINT64_MAX;
    if (begin_run(life, &why) == STATUS_OK)
        return;
    life->state = LIFE_STOPPED;
    vms_refuse(life->spec.name, why.text);
    life_end();
}

enum status life_make(const struct vm_spec *spec, u32 module, const char *loaded_name, struct life **out,
                      struct refusal *why)
{
    struct life *life = add(spec, why);

    if (!life)
        return STATUS_NO_MEMORY;
    life->module = module;
    life->loaded_name = loaded_name;
    life->id = next_id;
    enum status status = vms_make(life, 0, &life->vm, why);
    if (status != STATUS_OK) {
        forget(life);
        return status;
    }
    next_id++;
    life_begin();
    enter_run(life);
    *out = life;
    return STATUS_OK;
}

/* ---- the end of a run ---- */

void life_run_ended(struct vm *vm)
{
    __atomic_store_n(&vm->over, true, __ATOMIC_SEQ_CST); /* nobody but the boot CPU touches it from now on */
    sched_request_work();
}

/* What was killed, here or by the debugger, was to end; and the debugger knows one run only. */
static COLD bool policy_restarts(const struct life *life)
{
    const struct vm *vm = life->vm;
    const struct vm_spec *spec = &life->spec;

    if (life->stopping || vm->reason == VM_STOP_KILLED || vm->has_debugger || life->module == LIFE_NO_MODULE)
        return false;
    if (spec->restart == VM_RESTART_NEVER || (spec->restart == VM_RESTART_ON_FAILURE && vm->clean))
        return false;
    return !spec->restarts || life->by_policy < spec->restarts;
}

/* The delay grows from one restart to the next, and begins anew after a good run. */
static COLD void await_restart(struct life *life, u64 now)
{
    u64 ran_ns = clock_ns_from_tsc(life->vm->stop_tsc - life->vm->born_tsc);

    if (ran_ns >= GOOD_RUN_NS)
        life->delay_ns = FIRST_DELAY_NS;
    u64 delay_ns = restarts_at_once ? 0 : life->delay_ns;
    life->by_policy++;
    life->state = LIFE_RESTARTING;
    life->restart_tsc = now + clock_tsc_from_ns(delay_ns);
    if (delay_ns)
        log_event("vm restart name=%s in_ms=%lu restart=%u", life->spec.name, delay_ns / 1000000, life->restarts + 1);
    life->delay_ns = life->delay_ns * 2 < LONGEST_DELAY_NS ? life->delay_ns * 2 : LONGEST_DELAY_NS;
}

/* The life may be gone afterwards. */
static void end_run(struct life *life, u64 now)
{
    bool again = life->again, restarts = policy_restarts(life);

    life->vm->over = life->stopping = life->again = false;
    life->force_tsc = UINT64_MAX;
    snapshot_forget_own(life->vm);
    if (again) {
        life->state = LIFE_RESTARTING;
        life->restart_tsc = now;
        life->delay_ns = FIRST_DELAY_NS;
        life->by_policy = 0;
    } else if (restarts) {
        await_restart(life, now);
    } else {
        life->state = LIFE_STOPPED;
        if (!life->vm->clean)
            vms_note_failure();
        if (life->added)
            forget_oldest();
        life_end();
    }
}

static void force(struct life *life)
{
    life->force_tsc = UINT64_MAX;
    vm_stop(life->vm, VM_STOP_KILLED, "what=\"it did not obey the power button\"");
}

static u64 earlier(u64 a, u64 b)
{
    return a < b ? a : b;
}

/* One VM that needs it; true: look again, since the list and the time are others now. */
static bool work_once(u64 now, u64 *next)
{
    *next = UINT64_MAX;
    for (struct life *life = lives; life; life = life->next) {
        if (life->vm && __atomic_load_n(&life->vm->over, __ATOMIC_SEQ_CST)) {
            end_run(life, now);
            return true;
        }
        if (now >= life->restart_tsc) {
            begin_restart(life);
            return true;
        }
        if (now >= life->force_tsc)
            force(life);
        *next = earlier(*next, life->restart_tsc);
        *next = earlier(*next, life->force_tsc);
    }
    return false;
}

/* Returns when one that waits has its turn. */
static u64 grant_wishes(u64 now)
{
    u64 next = UINT64_MAX;

    for (struct life *life = lives; life; life = life->next) {
        if (!life->vm)
            continue;
        if (snapshot_serve(life->vm, now) && life->state != LIFE_PAUSED)
            vm_resume(life->vm);
        else
            next = earlier(next, snapshot_due(life->vm, now));
    }
    return next;
}

/* VMs that end as soon as they begin would keep the boot CPU here: its guests get their turns in between, and the
 * monitor after each piece. */
u64 life_work(u64 now)
{
    u64 next, until = now + clock_tsc_from_ns(PIECE_NS), wish = grant_wishes(now);

    while (work_once(now, &next)) {
        sched_share_cpu();
        now = cpu_tsc();
        if (now >= until)
            return now;
    }
    return earlier(next, wish);
}

void life_restart_at_once(void)
{
    restarts_at_once = true;
}

/* ---- orders ---- */

static enum status gone(const struct life *life, struct refusal *why)
{
    return refuse(why, STATUS_GONE, "%s has ended; restart or start it", life->spec.name);
}

/* Its run goes on, and nobody has ended it yet. */
static bool is_up(const struct life *life)
{
    return (life->state == LIFE_RUNNING || life->state == LIFE_PAUSED) && !vm_is_stopping(life->vm);
}

static enum status wrong_state(const struct life *life, const char *remedy, struct refusal *why)
{
    bool ends = life->stopping || (life->state != LIFE_RESTARTING && !is_up(life));

    return refuse(why, STATUS_WRONG_STATE, "%s is %s; %s", life->spec.name,
                  ends ? "being stopped" : life_state_name(life->state), remedy);
}

static enum status check_up(const struct life *life, struct refusal *why)
{
    if (life->state == LIFE_STOPPED)
        return gone(life, why);
    if (!is_up(life))
        return wrong_state(life, "wait until it is done", why);
    return STATUS_OK;
}

enum status life_pause(struct life *life, struct refusal *why)
{
    enum status status = check_up(life, why);

    if (status != STATUS_OK)
        return status;
    if (life->state == LIFE_PAUSED)
        return wrong_state(life, "resume it", why);
    life->state = LIFE_PAUSED;
    vm_pause(life->vm);
    return STATUS_OK;
}

enum status life_resume(struct life *life, struct refusal *why)
{
    enum status status = check_up(life, why);

    if (status != STATUS_OK)
        return status;
    if (life->state != LIFE_PAUSED)
        return wrong_state(life, "pause it first", why);
    life->state = LIFE_RUNNING;
    vm_resume(life->vm);
    return STATUS_OK;
}

/* It waits for its restart, and shall not have one. */
static enum status cancel_restart(struct life *life)
{
    life->restart_tsc = UINT64_MAX;
    life->state = LIFE_STOPPED;
    if (!life->vm->clean)
        vms_note_failure();
    life_end();
    return STATUS_OK;
}

enum status life_stop(struct life *life, u64 force_ms, struct refusal *why)
{
    if (life->state == LIFE_STOPPED)
        return gone(life, why);
    if (life->state == LIFE_RESTARTING)
        return cancel_restart(life);
    if (life->state == LIFE_PAUSED)
        return wrong_state(life, "resume it first, or kill it", why);
    life->stopping = true;
    life->again = false;
    if (force_ms)
        life->force_tsc = cpu_tsc() + clock_tsc_from_ns(force_ms * 1000000);
    if (is_up(life))
        vm_press_power_button(life->vm);
    sched_request_work();
    return STATUS_OK;
}

enum status life_kill(struct life *life, struct refusal *why)
{
    if (life->state == LIFE_STOPPED)
        return gone(life, why);
    if (life->state == LIFE_RESTARTING)
        return cancel_restart(life);
    life->stopping = true;
    life->again = false;
    vm_stop(life->vm, VM_STOP_KILLED, "what=\"by the monitor\"");
    return STATUS_OK;
}

enum status life_restart(struct life *life, struct refusal *why)
{
    if (life->vm && life->vm->has_debugger)
        return refuse(why, STATUS_WRONG_STATE, "gdb= debugs this run of %s, which stays its only one", life->spec.name);
    if (life->module == LIFE_NO_MODULE)
        return refuse(why, STATUS_WRONG_STATE, "%s is a clone, and has no image to start from; clone again",
                      life->spec.name);
    if (life->state == LIFE_RESTARTING) {
        life->restart_tsc = cpu_tsc();
    } else if (life->state == LIFE_STOPPED) {
        enum status status = begin_run(life, why);
        if (status == STATUS_OK)
            life_begin();
        return status;
    } else {
        life->again = true;
        vm_stop(life->vm, VM_STOP_KILLED, "what=\"to be restarted\"");
    }
    sched_request_work();
    return STATUS_OK;
}

enum status life_nmi(struct life *life, struct refusal *why)
{
    enum status status = check_up(life, why);

    if (status == STATUS_OK)
        vm_raise_nmi(life->vm);
    return status;
}

enum status life_set(struct life *life, const char *key, const char *value, struct refusal *why)
{
    struct vm_spec spec = life->spec;
    enum status status = vm_spec_set(key, value, &spec, why);

    if (status == STATUS_OK)
        status = vm_check_affinity(&spec, why);
    if (status != STATUS_OK)
        return status;
    life->spec = spec;
    if (life->state != LIFE_STOPPED && life->state != LIFE_RESTARTING)
        vm_change(life->vm, &spec);
    return STATUS_OK;
}

enum status life_check_name(const char *name, struct refusal *why)
{
    struct life *life = life_find(name);

    if (!vm_spec_is_name(name))
        return refuse(why, STATUS_INVALID,
                      "'%.48s' is no name for a VM; it has 1 to 31 characters of A-Z a-z 0-9 . _ -", name);
    if (life && life->state != LIFE_STOPPED)
        return wrong_state(life, "take another name", why);
    if (life && life->vm && life->vm->has_debugger)
        return refuse(why, STATUS_WRONG_STATE, "gdb= debugs %s; take another name", name);
    return STATUS_OK;
}

/* A new life takes the place of an ended one of the same name. */
static void replace(struct life *life)
{
    life->added = true;
    for (struct life *old = lives; old; old = old->next) {
        if (old == life || !string_equal(old->spec.name, life->spec.name))
            continue;
        forget(old);
        return;
    }
}

static enum status amend(struct life *life, const char *words, struct refusal *why)
{
    if (!string_copy(life->words, sizeof life->words, words))
        return refuse(why, STATUS_OUT_OF_RANGE, "more than %u characters", LIFE_WORDS_BYTES - 1);
    return vm_spec_amend(life->words, &life->spec, why);
}

enum status life_start(const char *name, const char *module, const char *words, struct life **out, struct refusal *why)
{
    struct vm_spec spec;
    u32 index;
    enum status status = life_check_name(name, why);

    if (status == STATUS_OK)
        status = vms_find_module(module, &index, &spec, why);
    if (status != STATUS_OK)
        return status;
    struct life *life = add(&spec, why);
    if (!life)
        return STATUS_NO_MEMORY;
    life->module = index;
    life->loaded_name = vms_name_of_module(index);
    life->id = next_id;
    string_copy(life->spec.name, sizeof life->spec.name, name);
    status = amend(life, words, why);
    if (status == STATUS_OK)
        status = begin_run(life, why);
    if (status != STATUS_OK) {
        forget(life);
        return status;
    }
    next_id++;
    life_begin();
    replace(life);
    *out = life;
    return STATUS_OK;
}

enum status life_adopt(struct vm *vm, struct life **out, struct refusal *why)
{
    enum status status = life_check_name(vm->spec.name, why);

    if (status != STATUS_OK)
        return status;
    struct life *life = add(&vm->spec, why);
    if (!life)
        return STATUS_NO_MEMORY;
    life->id = vm->id;
    life->module = LIFE_NO_MODULE;
    life->vm = vm;
    life_begin();
    enter_run(life);
    replace(life);
    vms_connect(vm); /* the one before has let go of it */
    *out = life;
    return STATUS_OK;
}

void life_stop_all(u64 force_ms)
{
    for (struct life *life = lives; life; life = life->next) {
        enum status status = life->state == LIFE_PAUSED ? life_resume(life, NULL) : STATUS_OK;
        if (status == STATUS_OK)
            status = life_stop(life, force_ms, NULL);
        if (status != STATUS_OK && status != STATUS_GONE)
            log_debug("vm stop name=%s status=%u", life->spec.name, status);
    }
}
