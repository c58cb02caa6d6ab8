/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who has the terminal, when a VM that was connected to it starts again.
 *
 * links: kernel/monitor/monitor.c kernel/monitor/terminal.c kernel/monitor/editor.c kernel/monitor/command.c
 * kernel/vm/spec.c kernel/clock.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/log.h"
#include "kernel/monitor/com2.h"
#include "kernel/monitor/monitor.h"
#include "kernel/monitor/terminal.h"
#include "kernel/monitor/vcpu_look.h"
#include "kernel/sched/sched.h"

/* ---- what monitor.c and terminal.c call ---- */

u64 cpu_tsc(void)
{
    return 0;
}

u64 rtc_read_seconds(u64 tsc_hz)
{
    return tsc_hz;
}

void console_set_row(const char *row, const char *now)
{
    (void)row;
    (void)now;
}

void console_end_row(void) {}

void console_write_raw(const char *text, size_t length)
{
    (void)text;
    (void)length;
}

bool console_has_room(void)
{
    return true;
}

int console_read(void)
{
    return -1;
}

bool console_set_reader(void (*reader)(void))
{
    (void)reader;
    return true;
}

void log_event(const char *format, ...)
{
    (void)format;
}

void log_text(const char *text)
{
    (void)text;
}

void sched_request_work(void) {}

static int shortened;

void sched_shorten_slices(bool on)
{
    shortened += on ? 1 : -1;
}

struct life *life_next(struct life *after)
{
    (void)after;
    return NULL;
}

/* A VM that is stopping has ended here. */
struct life *life_find(const char *name)
{
    static struct life life;

    (void)name;
    life.vm = terminal_owner();
    life.state = life.vm->stopping ? LIFE_STOPPED : LIFE_RUNNING;
    return &life;
}

const char *vm_stop_reason_name(enum vm_stop_reason reason)
{
    (void)reason;
    return "";
}

size_t vm_read_kept(const struct vm *vm, u64 from, char *to, size_t bytes, u64 *at)
{
    (void)vm;
    (void)to;
    (void)bytes;
    *at = from;
    return 0;
}

void vm_set_terminal(struct vm *vm, enum vm_terminal terminal)
{
    vm->terminal = (u8)terminal;
}

void vm_note_input(struct vm *vm)
{
    (void)vm;
}

void com2_give(struct vm *vm)
{
    (void)vm;
}

struct vm *com2_owner(void)
{
    return NULL;
}

void vcpu_look_forget(const struct vm *vm)
{
    (void)vm;
}

/* ---- tests ---- */

static struct vm input, input_again, other;

/* console.input= names a VM, and the monitor has handed the terminal over to one. */
static void hand_over_to(struct vm *vm)
{
    static const struct host_options options = {.monitor_key = 1};
    static const struct monitor_machine machine;

    memset(&input, 0, sizeof input);
    memset(&input_again, 0, sizeof input_again);
    memset(&other, 0, sizeof other);
    assert_true(monitor_init(&options, &machine));
    assert_true(monitor_connect(&input));
    monitor_hand_over(vm);
    assert_int_equal(vm->terminal, VM_TERMINAL_HAS);
}

static void test_a_restart_takes_nothing_from_another_vm(void **state)
{
    (void)state;
    hand_over_to(&other);
    assert_true(monitor_connect(&input_again));
    monitor_forget(&input);
    assert_ptr_equal(terminal_owner(), &other);
    assert_false(monitor_comes_back());
    other.stopping = 1;
    assert_true(monitor_comes_back());
    assert_ptr_equal(terminal_owner(), &input_again);
    assert_int_equal(input_again.terminal, VM_TERMINAL_BEHIND);
    monitor_close();
}

static void test_a_restarted_vm_keeps_the_terminal(void **state)
{
    (void)state;
    hand_over_to(&input);
    input.stopping = 1;
    assert_true(monitor_connect(&input_again));
    monitor_forget(&input);
    assert_ptr_equal(terminal_owner(), &input_again);
    assert_int_equal(input_again.terminal, VM_TERMINAL_HAS);
    assert_false(monitor_comes_back());
    input_again.stopping = 1;
    assert_true(monitor_comes_back());
    monitor_close();
}

/* The other one's object went before this one came: the monitor is next. */
static void test_a_terminal_without_an_owner_comes_back(void **state)
{
    (void)state;
    hand_over_to(&other);
    monitor_forget(&input);
    monitor_forget(&other);
    assert_true(monitor_connect(&input_again));
    assert_true(monitor_comes_back());
    assert_ptr_equal(terminal_owner(), &input_again);
    assert_int_equal(input_again.terminal, VM_TERMINAL_BEHIND);
    monitor_close();
}

/* A line that a program types overruns the port if a guest holds up its interrupt for long. */
static void test_slices_are_short_while_it_is_open(void **state)
{
    static const struct host_options options = {.monitor_key = 1, .monitor = MONITOR_START};
    static const struct monitor_machine machine;

    (void)state;
    shortened = 0;
    assert_true(monitor_init(&options, &machine));
    monitor_work(0);
    assert_int_equal(shortened, 1);
    monitor_work(1);
    assert_int_equal(shortened, 1);
    monitor_close();
    assert_int_equal(shortened, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_restart_takes_nothing_from_another_vm),
        cmocka_unit_test(test_a_restarted_vm_keeps_the_terminal),
        cmocka_unit_test(test_a_terminal_without_an_owner_comes_back),
        cmocka_unit_test(test_slices_are_short_while_it_is_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
