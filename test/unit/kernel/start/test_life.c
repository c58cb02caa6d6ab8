/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMs beyond one run: restart= and its delays, orders, and orders that come at the wrong time. A run here is an object
 * that a test ends when it likes; the time is a number.
 *
 * links: kernel/start/life.c kernel/vm/spec.c kernel/clock.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

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

#define SECOND 1000000000ull

bool snapshot_serve(struct vm *vm, u64 now_tsc)
{
    (void)vm;
    (void)now_tsc;
    return false;
}

u64 snapshot_due(const struct vm *vm, u64 now_tsc)
{
    (void)vm;
    (void)now_tsc;
    return UINT64_MAX;
}

void snapshot_forget_own(const struct vm *vm)
{
    (void)vm;
}

void snapshot_forget_all(void) {}

static struct refusal why;
static u64 now;
static u64 frames; /* that are taken */
static char log[20000];
static const char *refuses; /* the name of a VM that cannot be made */
static struct {
    u32 made, destroyed, started, carried, reported, finished, failures, refused, requests;
    u32 paused, resumed, pressed, nmis, changed;
    u32 dirty; /* pieces that are not clean yet */
} did;

/* ---- what life.c calls ---- */

void *phys_to_virt(hpa_t address)
{
    return (void *)address.raw;
}

hpa_t virt_to_phys(const void *address)
{
    return hpa((u64)address);
}

enum status frames_allocate(u64 count, u64 align_frames, hpa_t *out)
{
    assert_int_equal(align_frames, 1);
    frames += count;
    *out = hpa((u64)calloc(count, FRAME_BYTES));
    return STATUS_OK;
}

void frames_free(hpa_t base, u64 count)
{
    frames -= count;
    free((void *)base.raw);
}

u64 frames_free_count(void)
{
    return 1000 - frames;
}

bool frames_clean_piece(void)
{
    return did.dirty && did.dirty--;
}

u64 cpu_tsc(void)
{
    return now;
}

u64 rtc_read_seconds(u64 tsc_hz)
{
    (void)tsc_hz;
    return 0;
}

void log_event(const char *format, ...)
{
    size_t used = strlen(log);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(log + used, sizeof log - used, format, arguments);
    va_end(arguments);
    strcat(log, "\n");
}

void log_debug(const char *format, ...)
{
    (void)format;
}

void sched_request_work(void)
{
    did.requests++;
}

void sched_share_cpu(void) {}

void sched_finish(void)
{
    did.finished++;
}

enum status vms_make(const struct life *life, u32 restart, struct vm **out, struct refusal *reason)
{
    assert_int_equal(did.dirty, 0);
    if (refuses && !strcmp(refuses, life->spec.name))
        return refuse(reason, STATUS_NO_MEMORY, "no memory for it");
    did.made++;
    *out = calloc(1, sizeof **out);
    (*out)->spec = life->spec;
    (*out)->id = life->id;
    (*out)->restart = restart;
    return STATUS_OK;
}

void vm_start(struct vm *vm)
{
    vm->born_tsc = now;
    did.started++;
}

void vm_destroy(struct vm *vm)
{
    did.destroyed++;
    free(vm);
}

struct vm_sums vm_sums(const struct vm *vm)
{
    struct vm_sums sums = vm->before;
    sums.wall_tsc += vm->stop_tsc - vm->born_tsc;
    return sums;
}

void virt_vm_carry_statistics(struct vm *to, const struct vm *from)
{
    assert_int_equal(to->id, from->id);
    did.carried++;
}

void vm_carry_kept(struct vm *to, struct vm *from)
{
    assert_int_equal(to->id, from->id);
}

void monitor_forget(struct vm *vm)
{
    assert_non_null(vm);
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    (void)detail;
    if (vm->stopping)
        return;
    vm->reason = reason;
    vm->stopping = 1;
}

void vm_pause(struct vm *vm)
{
    (void)vm;
    did.paused++;
}

void vm_resume(struct vm *vm)
{
    (void)vm;
    did.resumed++;
}

void vm_press_power_button(struct vm *vm)
{
    (void)vm;
    did.pressed++;
}

void vm_raise_nmi(struct vm *vm)
{
    (void)vm;
    did.nmis++;
}

void vm_change(struct vm *vm, const struct vm_spec *spec)
{
    vm->spec.weight = spec->weight;
    did.changed++;
}

enum status vm_check_affinity(const struct vm_spec *spec, struct refusal *reason)
{
    return spec->affinity & 3 ? STATUS_OK : refuse(reason, STATUS_OUT_OF_RANGE, "no such CPU");
}

void vms_note_failure(void)
{
    did.failures++;
}

void vms_refuse(const char *name, const char *text)
{
    log_event("refused %s: %s", name, text);
    did.refused++;
}

void vms_connect(struct vm *vm)
{
    assert_ptr_equal(life_find(vm->spec.name)->vm, vm);
}

void vms_report(const struct vm *vm)
{
    log_event("stats %s wall=%llu", vm->spec.name, vm_sums(vm).wall_tsc / SECOND);
    did.reported++;
}

enum status vms_find_module(const char *text, u32 *index, struct vm_spec *spec, struct refusal *reason)
{
    if (strcmp(text, "1") != 0)
        return refuse(reason, STATUS_INVALID, "there is no module '%s'", text);
    *index = 0;
    return vm_spec_parse("vm=module mem=16M weight=7 -- its words", spec, reason);
}

const char *vms_name_of_module(u32 index)
{
    assert_int_equal(index, 0);
    return "module";
}

/* ---- the bench ---- */

static struct life *make(const char *line)
{
    struct vm_spec spec;
    struct life *life;

    assert_int_equal(vm_spec_parse(line, &spec, &why), STATUS_OK);
    assert_int_equal(life_make(&spec, 0, spec.name, &life, &why), STATUS_OK);
    return life;
}

/* The VM's run is over after `seconds` of it; life.c has looked. Returns when it wants to look again. */
static u64 end(struct life *life, enum vm_stop_reason reason, bool clean, u64 seconds)
{
    now = life->vm->born_tsc + seconds * SECOND > now ? life->vm->born_tsc + seconds * SECOND : now;
    vm_stop(life->vm, reason, NULL);
    life->vm->clean = clean;
    life->vm->stop_tsc = now;
    life_run_ended(life->vm);
    return life_work(now);
}

static int start(void **state)
{
    (void)state;
    now = 1000;
    memset(&did, 0, sizeof did);
    log[0] = 0;
    refuses = NULL;
    clock_init(SECOND); /* a tick is a nanosecond */
    return 0;
}

static int stop(void **state)
{
    (void)state;
    life_forget_all();
    assert_int_equal(frames, 0);
    assert_int_equal(did.made, did.destroyed);
    return 0;
}

static void assert_state(const struct life *life, enum life_state state)
{
    assert_string_equal(life_state_name(life->state), life_state_name(state));
}

/* ---- restart= ---- */

static void test_never(void **state)
{
    struct life *life = make("vm=a");

    (void)state;
    assert_true(end(life, VM_STOP_RESET, false, 1) == UINT64_MAX);
    assert_state(life, LIFE_STOPPED);
    assert_int_equal(did.failures, 1);
    assert_non_null(life->vm); /* for the statistics */
    assert_int_equal(did.made, 1);
}

static void test_delays(void **state)
{
    static const u64 delays[] = {1, 2, 4, 8, 16, 32, 60, 60};
    struct life *life = make("vm=a restart=always");

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(delays); i++) {
        u64 again = end(life, VM_STOP_RESET, false, 59);
        assert_state(life, LIFE_RESTARTING);
        assert_true(again == now + delays[i] * SECOND);
        assert_true(life_work(again - 1) == again);
        assert_int_equal(life->restarts, i);
        now = again;
        assert_true(life_work(now) == UINT64_MAX);
        assert_state(life, LIFE_RUNNING);
        assert_int_equal(life->restarts, i + 1);
        assert_int_equal(life->vm->restart, i + 1);
    }
    assert_true(end(life, VM_STOP_RESET, false, 60) == now + SECOND); /* it has run well */
    assert_int_equal(did.failures, 0);
    assert_int_equal(did.carried, ARRAY_SIZE(delays));
    assert_int_equal(did.made - did.destroyed, 1); /* not more than one run's object */
    assert_true(vm_sums(life->vm).wall_tsc == (8 * 59 + 60) * SECOND);
    assert_int_equal(
        strncmp(log, "vm restart name=a in_ms=1000 restart=1\nvm restart name=a in_ms=2000 restart=2\n", 78), 0);
}

static void test_on_failure(void **state)
{
    static const struct {
        enum vm_stop_reason reason;
        bool clean, again;
    } ends[] = {
        {VM_STOP_EXIT,          true,  false},
        {VM_STOP_EXIT,          false, true },
        {VM_STOP_POWEROFF,      true,  false},
        {VM_STOP_HALT,          true,  false},
        {VM_STOP_LIMIT,         true,  false},
        {VM_STOP_RESET,         false, true },
        {VM_STOP_WATCHDOG,      false, true },
        {VM_STOP_TRIPLE_FAULT,  false, true },
        {VM_STOP_ENTRY_FAILURE, false, true },
        {VM_STOP_KILLED,        false, false}, /* the debugger's kill */
    };

    (void)state;
    for (u32 i = 0; i < ARRAY_SIZE(ends); i++) {
        struct life *life = make("vm=a restart=on-failure");
        (void)end(life, ends[i].reason, ends[i].clean, 1);
        assert_state(life, ends[i].again ? LIFE_RESTARTING : LIFE_STOPPED);
        assert_int_equal(life_kill(life, &why), ends[i].again ? STATUS_OK : STATUS_GONE);
        assert_state(life, LIFE_STOPPED);
        life_forget_all();
    }
}

static void test_restarts_are_bounded(void **state)
{
    struct life *life = make("vm=a restart=always restarts=2");

    (void)state;
    for (u32 i = 0; i < 2; i++) {
        now = end(life, VM_STOP_POWEROFF, true, 1);
        (void)life_work(now);
        assert_state(life, LIFE_RUNNING);
    }
    (void)end(life, VM_STOP_POWEROFF, true, 1);
    assert_state(life, LIFE_STOPPED);
    assert_int_equal(life_restart(life, &why),
                     STATUS_OK); /* somebody wants it all the same, and it has its two again */
    assert_state(life, LIFE_RUNNING);
    assert_int_equal(life->restarts, 3);
}

static void test_one_that_cannot_be_made_again(void **state)
{
    struct life *life = make("vm=a restart=always");

    (void)state;
    now = end(life, VM_STOP_RESET, false, 1);
    refuses = "a";
    assert_true(life_work(now) == UINT64_MAX);
    assert_state(life, LIFE_STOPPED);
    assert_int_equal(did.refused, 1);
    assert_non_null(life->vm);
    assert_int_equal(life_restart(life, &why), STATUS_NO_MEMORY);
    refuses = NULL;
    did.dirty = 5; /* what others left is clean before it is made */
    assert_int_equal(life_restart(life, &why), STATUS_OK);
    assert_state(life, LIFE_RUNNING);
}

static void test_a_debugged_run_is_the_only_one(void **state)
{
    struct life *life = make("vm=a restart=always");

    (void)state;
    life->vm->has_debugger = true;
    (void)end(life, VM_STOP_RESET, false, 1);
    assert_state(life, LIFE_STOPPED);
    assert_int_equal(life_restart(life, &why), STATUS_WRONG_STATE);
    assert_int_equal(life_start("a", "1", "", &life, &why), STATUS_WRONG_STATE);
}

/* ---- when the machine ends ---- */

static void test_the_last_end_ends_the_machine(void **state)
{
    struct life *a = make("vm=a");
    struct life *b = make("vm=b restart=always restarts=1");

    (void)state;
    life_end(); /* as vms_start(), when all have been started */
    (void)end(a, VM_STOP_EXIT, true, 1);
    now = end(b, VM_STOP_EXIT, true, 1);
    assert_int_equal(did.finished, 0); /* it waits for its restart */
    (void)life_work(now);
    life_keep_up(true);
    life_keep_up(true);
    (void)end(b, VM_STOP_EXIT, true, 1);
    assert_int_equal(did.finished, 0);
    life_keep_up(false);
    assert_int_equal(did.finished, 1);
    life_begin();
}

/* ---- orders ---- */

static void test_pause_and_resume(void **state)
{
    struct life *life = make("vm=a");

    (void)state;
    assert_int_equal(life_resume(life, &why), STATUS_WRONG_STATE);
    assert_string_equal(why.text, "a is running; pause it first");
    assert_int_equal(life_pause(life, &why), STATUS_OK);
    assert_state(life, LIFE_PAUSED);
    assert_int_equal(life_pause(life, &why), STATUS_WRONG_STATE);
    assert_int_equal(life_stop(life, 100, &why), STATUS_WRONG_STATE);
    assert_string_equal(why.text, "a is paused; resume it first, or kill it");
    assert_int_equal(life_nmi(life, &why), STATUS_OK);
    assert_int_equal(life_resume(life, &why), STATUS_OK);
    assert_state(life, LIFE_RUNNING);
    assert_int_equal(did.paused, 1);
    assert_int_equal(did.resumed, 1);
    assert_int_equal(life_pause(life, &why), STATUS_OK);
    (void)end(life, VM_STOP_LIMIT, true, 1);
    assert_int_equal(life_resume(life, &why), STATUS_GONE);
    assert_string_equal(why.text, "a has ended; restart or start it");
    assert_int_equal(life_pause(life, &why), STATUS_GONE);
    assert_int_equal(life_nmi(life, &why), STATUS_GONE);
    assert_int_equal(life_stop(life, 0, &why), STATUS_GONE);
    assert_int_equal(life_kill(life, &why), STATUS_GONE);
    assert_int_equal(did.nmis, 1);
    assert_int_equal(did.pressed, 0);
}

static void test_stop_by_the_power_button(void **state)
{
    struct life *life = make("vm=a restart=always");

    (void)state;
    assert_int_equal(life_stop(life, 500, &why), STATUS_OK);
    assert_int_equal(did.pressed, 1);
    assert_true(life_work(now) == now + SECOND / 2);
    assert_true(end(life, VM_STOP_POWEROFF, true, 0) == UINT64_MAX); /* it obeyed; restart= has no say */
    assert_state(life, LIFE_STOPPED);
    assert_int_equal(did.failures, 0);
}

static void test_stop_by_force(void **state)
{
    struct life *life = make("vm=a");

    (void)state;
    assert_int_equal(life_stop(life, 500, &why), STATUS_OK);
    now += SECOND / 2 - 1;
    (void)life_work(now);
    assert_false(life->vm->stopping);
    now++;
    assert_true(life_work(now) == UINT64_MAX);
    assert_int_equal(life->vm->reason, VM_STOP_KILLED);
    assert_int_equal(life_pause(life, &why), STATUS_WRONG_STATE); /* it has not ended yet */
    assert_string_equal(why.text, "a is being stopped; wait until it is done");
    (void)end(life, VM_STOP_KILLED, false, 0);
    assert_state(life, LIFE_STOPPED);
}

/* Two orders at once: the later one counts. */
static void test_restart_during_stop_and_kill_during_restart(void **state)
{
    struct life *life = make("vm=a restart=always");

    (void)state;
    assert_int_equal(life_stop(life, 500, &why), STATUS_OK);
    assert_int_equal(life_restart(life, &why), STATUS_OK);
    assert_true(end(life, VM_STOP_KILLED, false, 0) == UINT64_MAX);
    assert_state(life, LIFE_RUNNING);
    assert_int_equal(life->restarts, 1);
    assert_false(life->stopping);
    assert_int_equal(life_restart(life, &why), STATUS_OK);
    assert_int_equal(life_kill(life, &why), STATUS_OK);
    (void)end(life, VM_STOP_KILLED, false, 0);
    assert_state(life, LIFE_STOPPED);
    assert_int_equal(did.failures, 1);
    assert_int_equal(life_restart(life, &why), STATUS_OK);
    (void)end(life, VM_STOP_RESET, false, 0);
    assert_state(life, LIFE_RESTARTING);
    assert_int_equal(life_pause(life, &why), STATUS_WRONG_STATE);
    assert_string_equal(why.text, "a is restarting; wait until it is done");
    assert_int_equal(life_restart(life, &why), STATUS_OK); /* at once */
    (void)life_work(now);
    assert_state(life, LIFE_RUNNING);
    (void)end(life, VM_STOP_RESET, false, 0);
    assert_int_equal(life_stop(life, 0, &why), STATUS_OK); /* nothing to press: it is off */
    assert_state(life, LIFE_STOPPED);
    assert_int_equal(did.pressed, 1);
}

static void test_restart_of_one_that_has_just_ended(void **state)
{
    struct life *life = make("vm=a");

    (void)state;
    vm_stop(life->vm, VM_STOP_EXIT, NULL); /* its vCPUs are not retired yet */
    assert_int_equal(life_restart(life, &why), STATUS_OK);
    (void)end(life, VM_STOP_EXIT, true, 0);
    assert_state(life, LIFE_RUNNING);
    assert_int_equal(life->restarts, 1);
    (void)end(life, VM_STOP_EXIT, true, 0);
    assert_int_equal(life_restart(life, &why), STATUS_OK);
    assert_state(life, LIFE_RUNNING);
    assert_int_equal(life->restarts, 2);
}

static void test_set(void **state)
{
    struct life *life = make("vm=a restart=always");

    (void)state;
    assert_int_equal(life_set(life, "weight", "300", &why), STATUS_OK);
    assert_int_equal(life->vm->spec.weight, 300);
    assert_int_equal(life_set(life, "affinity", "5", &why), STATUS_OUT_OF_RANGE);
    assert_int_equal(life_set(life, "mem", "8M", &why), STATUS_INVALID);
    assert_true(life->spec.affinity == ~0ull);
    now = end(life, VM_STOP_RESET, false, 0);
    assert_int_equal(life_set(life, "cap", "50", &why), STATUS_OK); /* for the next run */
    assert_int_equal(did.changed, 1);
    (void)life_work(now);
    assert_int_equal(life->vm->spec.weight, 300);
    assert_int_equal(life->vm->spec.cap_percent, 50);
}

static void test_start(void **state)
{
    struct life *a = make("vm=a");
    struct life *b;

    (void)state;
    assert_int_equal(life_start("a", "1", "", &b, &why), STATUS_WRONG_STATE);
    assert_string_equal(why.text, "a is running; take another name");
    assert_int_equal(life_start("b c", "1", "", &b, &why), STATUS_INVALID);
    assert_int_equal(life_start("b", "2", "", &b, &why), STATUS_INVALID);
    assert_int_equal(life_start("b", "1", "mem=7", &b, &why), STATUS_INVALID);
    refuses = "b";
    assert_int_equal(life_start("b", "1", "", &b, &why), STATUS_NO_MEMORY);
    refuses = NULL;
    assert_null(life_next(a));
    assert_int_equal(life_start("b", "1", "weight=9 -- other words", &b, &why), STATUS_OK);
    assert_ptr_equal(life_find("b"), b);
    assert_int_equal(b->spec.mem_bytes, MIB(16));
    assert_int_equal(b->spec.weight, 9);
    assert_string_equal(b->spec.guest_command_line, "other words");
    assert_string_equal(b->loaded_name, "module");
    assert_int_not_equal(b->vm->id, a->vm->id);
    assert_int_equal(b->vm->restart, 0);
    (void)end(a, VM_STOP_EXIT, true, 2);
    u32 old_id = a->vm->id;
    assert_int_equal(life_start("a", "1", "", &a, &why), STATUS_OK); /* in its place */
    assert_int_not_equal(a->vm->id, old_id);
    assert_int_equal(did.reported, 1);
    assert_ptr_equal(life_next(NULL), b);
    assert_ptr_equal(life_next(b), a);
    assert_null(life_next(a));
    assert_string_equal(a->spec.guest_command_line, "its words");
}

/* Statistics are kept, but not without end: the oldest are printed, and go. */
static void test_what_is_kept_is_bounded(void **state)
{
    struct life *life;
    char name[16];

    (void)state;
    make("vm=a");
    for (u32 i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "n%u", i);
        assert_int_equal(life_start(name, "1", "", &life, &why), STATUS_OK);
        (void)end(life, VM_STOP_EXIT, true, 0);
        assert_true(frames <= 66);
    }
    assert_int_equal(did.reported, 1000 - 64);
    assert_null(life_find("n935"));
    assert_non_null(life_find("n936"));
    assert_non_null(life_find("a"));
    u32 count = 0;
    for (const struct vm *vm = life_list_runs(); vm; vm = vm->next)
        count++;
    assert_int_equal(count, 65);
}

/* The one that came first ends last, when 64 that came later have: it goes itself. */
static void test_the_first_to_come_ends_last(void **state)
{
    struct life *first, *life;
    char name[16];

    (void)state;
    assert_int_equal(life_start("first", "1", "", &first, &why), STATUS_OK);
    for (u32 i = 0; i < 64; i++) {
        snprintf(name, sizeof name, "n%u", i);
        assert_int_equal(life_start(name, "1", "", &life, &why), STATUS_OK);
        (void)end(life, VM_STOP_EXIT, true, 0);
    }
    assert_int_equal(did.reported, 0);
    (void)end(first, VM_STOP_EXIT, true, 0);
    assert_int_equal(did.reported, 1);
    assert_null(life_find("first"));
    assert_non_null(life_find("n0"));
}

static void test_adopted(void **state)
{
    struct vm *vm = calloc(1, sizeof *vm);
    struct life *life;

    (void)state;
    did.made++;
    assert_int_equal(vm_spec_parse("vm=clone restart=always", &vm->spec, &why), STATUS_OK);
    vm->id = life_new_id();
    assert_int_equal(life_adopt(vm, &life, &why), STATUS_OK);
    assert_state(life, LIFE_RUNNING);
    assert_int_equal(did.started, 1);
    assert_int_equal(life_restart(life, &why), STATUS_WRONG_STATE);
    (void)end(life, VM_STOP_RESET, false, 0);
    assert_state(life, LIFE_STOPPED); /* there is nothing to make it from */
    assert_int_equal(life_restart(life, &why), STATUS_WRONG_STATE);
}

static void test_stop_all(void **state)
{
    struct life *a = make("vm=a");
    struct life *b = make("vm=b");
    struct life *c = make("vm=c restart=always");
    struct life *d = make("vm=d");

    (void)state;
    assert_int_equal(life_pause(b, &why), STATUS_OK);
    (void)end(c, VM_STOP_RESET, false, 0);
    (void)end(d, VM_STOP_EXIT, true, 0);
    life_stop_all(1000);
    assert_int_equal(did.pressed, 2);
    assert_int_equal(did.resumed, 1);
    assert_state(c, LIFE_STOPPED);
    (void)end(a, VM_STOP_POWEROFF, true, 0);
    now += SECOND;
    (void)life_work(now);
    assert_int_equal(b->vm->reason, VM_STOP_KILLED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_the_last_end_ends_the_machine), /* first: the others leave VMs that run */
        TEST(test_never),
        TEST(test_delays),
        TEST(test_on_failure),
        TEST(test_restarts_are_bounded),
        TEST(test_one_that_cannot_be_made_again),
        TEST(test_a_debugged_run_is_the_only_one),
        TEST(test_pause_and_resume),
        TEST(test_stop_by_the_power_button),
        TEST(test_stop_by_force),
        TEST(test_restart_during_stop_and_kill_during_restart),
        TEST(test_restart_of_one_that_has_just_ended),
        TEST(test_set),
        TEST(test_start),
        TEST(test_what_is_kept_is_bounded),
        TEST(test_the_first_to_come_ends_last),
        TEST(test_adopted),
        TEST(test_stop_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
