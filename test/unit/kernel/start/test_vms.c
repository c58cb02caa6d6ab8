/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From module lines to VMs, and when a machine's run is over and well. A VM here is a name: vm_create() notes what it
 * was asked for. Each run has a process of its own, since a machine starts its VMs once.
 *
 * links: kernel/start/vms.c kernel/start/life.c kernel/vm/spec.c kernel/clock.c
 *
 * flags: -Itest/fake
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "drivers/host/rtc.h"
#include "drivers/host/serial.h"
#include "kernel/clock.h"
#include "kernel/frames.h"
#include "kernel/gdb/stub.h"
#include "kernel/load/load.h"
#include "kernel/monitor/com2.h"
#include "kernel/monitor/commands.h"
#include "kernel/sched/sched.h"
#include "kernel/start/life.h"
#include "kernel/start/vms.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"
#include "kernel/vm/snapshot.h"

#define MODULE_BYTES 64u
#define MAX_MADE     4u

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

/* What a machine is like, and what came of it. */
static struct machine {
    const char *lines[24];
    u32 dropped;
    u32 at_least; /* VMs that must have been made when the run is over */
    const char *input, *gdb;
    const char *no_memory_for; /* vm_create() refuses the VM of this name */
    bool idle_monitor;         /* and then the monitor's poweroff */
    bool ends_at_once, ends_badly, no_interrupt, stub_fails, no_com2;
    enum trace_to trace;
} machine;

struct outcome {
    char log[20000];
    char made[MAX_MADE][1000]; /* "name: boot [initrd] modules", each with its command line */
    u32 made_count, destroyed;
    u64 frames;   /* not freed yet */
    u32 finished; /* calls of sched_finish() */
    bool finished_early, opened_early, all_well;
    char com2[VM_NAME_BYTES];
    char has_terminal[VM_NAME_BYTES], debugged[VM_NAME_BYTES];
    bool opened, flushed_first, monitor_ended;
    u32 forgotten; /* monitor_forget() */
    u32 traced;    /* by trace_print_all(), with the VMs still there */
};

static struct outcome *outcome;

static struct boot_info boot;
static u8 images[BOOT_MAX_MODULES * MODULE_BYTES];
static const struct monitor_machine *monitor_of;
static struct vm *made[MAX_MADE];

/* ---- what vms.c calls ---- */

/* The images have the first addresses, frames their host's. */
void *phys_to_virt(hpa_t address)
{
    return address.raw < sizeof images ? (void *)(images + address.raw) : (void *)address.raw;
}

hpa_t virt_to_phys(const void *address)
{
    return hpa((u64)address);
}

enum status frames_allocate(u64 count, u64 align_frames, hpa_t *out)
{
    *out = hpa((u64)calloc(count, FRAME_BYTES));
    outcome->frames += count * align_frames;
    return STATUS_OK;
}

void frames_free(hpa_t base, u64 count)
{
    outcome->frames -= count;
    free((void *)base.raw);
}

u64 frames_free_count(void)
{
    return 1000;
}

bool frames_clean_piece(void)
{
    return false;
}

void sched_request_work(void) {}

void sched_share_cpu(void) {}

u64 cpu_tsc(void)
{
    static u64 now;
    return now++;
}

void panic(const char *format, ...)
{
    fprintf(stderr, "panic: %s\n", format);
    abort();
}

/* What only orders at run time call: test_life.c */
void vm_pause(struct vm *vm)
{
    (void)vm;
    abort();
}

void vm_resume(struct vm *vm)
{
    vm_pause(vm);
}

void vm_press_power_button(struct vm *vm)
{
    vm_pause(vm);
}

void vm_raise_nmi(struct vm *vm)
{
    vm_pause(vm);
}

void vm_change(struct vm *vm, const struct vm_spec *spec)
{
    (void)spec;
    vm_pause(vm);
}

void vm_stop(struct vm *vm, enum vm_stop_reason reason, const char *detail, ...)
{
    (void)reason;
    (void)detail;
    vm_pause(vm);
}

enum status vm_check_affinity(const struct vm_spec *spec, struct refusal *why)
{
    (void)spec;
    (void)why;
    abort();
}

void virt_vm_carry_statistics(struct vm *to, const struct vm *from)
{
    (void)from;
    vm_pause(to);
}

void log_debug(const char *format, ...)
{
    (void)format;
    abort();
}

static void append(char *text, size_t bytes, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text + used, bytes - used, format, arguments);
    va_end(arguments);
}

static void log_line(const char *level, const char *format, va_list arguments)
{
    char line[500];

    vsnprintf(line, sizeof line, format, arguments);
    append(outcome->log, sizeof outcome->log, "%s%s\n", level, line);
}

void log_event(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    log_line("", format, arguments);
    va_end(arguments);
}

void log_error(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    log_line("error: ", format, arguments);
    va_end(arguments);
}

void log_text(const char *text)
{
    (void)text;
}

/* An image is told by its place and its line. */
static void note_image(char *text, const char *role, const struct image *image)
{
    append(text, sizeof outcome->made[0], " %s%zu[%s]", role,
           (size_t)((const u8 *)image->bytes - images) / MODULE_BYTES, image->line);
    assert_int_equal(image->size_bytes, MODULE_BYTES);
}

enum status vm_create(const struct vm_setup *setup, struct vm **out, struct refusal *why)
{
    const struct vm_spec *spec = setup->spec;
    const struct load_request *request = setup->request;
    static struct vcpu vcpus[] = {
        {.run_tsc = 5000000, .slices = 2, .migrations = 1},
        {.run_tsc = 3000999, .slices = 1, .migrations = 0}
    };
    char *text = outcome->made[outcome->made_count];

    if (machine.no_memory_for && !strcmp(machine.no_memory_for, spec->name))
        return refuse(why, STATUS_NO_MEMORY, "no memory for it");
    assert_in_range(outcome->made_count, 0, MAX_MADE - 1);
    assert_string_equal(request->vm_name, spec->name);
    outcome->made_count++;
    append(text, sizeof outcome->made[0], "%s:", spec->name);
    note_image(text, "boot", &request->boot);
    if (request->initrd.bytes)
        note_image(text, "initrd", &request->initrd);
    for (u32 i = 0; i < request->module_count; i++)
        note_image(text, "module", &request->modules[i]);
    *out = made[outcome->made_count - 1] = calloc(1, sizeof **out);
    (*out)->spec = *spec;
    (*out)->id = setup->id;
    (*out)->restart = setup->restart;
    (*out)->start_tsc = 1000000;
    (*out)->stop_tsc = 10000000;
    (*out)->clean = !machine.ends_badly || outcome->made_count > 1;
    (*out)->reason = VM_STOP_TRIPLE_FAULT;
    strcpy((*out)->where, " function=kmain+0x55");
    strcpy((*out)->detail, " rip=0x1000 first=#UD");
    strcpy((*out)->remark, outcome->made_count == 1 ? "IDT limit 0" : "");
    for (u32 i = 0; i < 2; i++)
        (*out)->vcpus[i] = &vcpus[i];
    return STATUS_OK;
}

void vm_start(struct vm *vm)
{
    if (machine.ends_at_once)
        life_run_ended(vm);
}

const char *vm_stop_reason_name(enum vm_stop_reason reason)
{
    return reason == VM_STOP_TRIPLE_FAULT ? "triple-fault" : "other";
}

void vm_destroy(struct vm *vm)
{
    outcome->destroyed++;
    free(vm);
}

void vm_carry_kept(struct vm *vm, struct vm *before)
{
    assert_ptr_not_equal(vm, before);
}

struct vm_sums vm_sums(const struct vm *vm)
{
    struct vm_sums sums = vm->before;

    sums.wall_tsc += vm->stop_tsc - vm->start_tsc;
    for (u32 i = 0; i < vm->spec.cpus; i++) {
        sums.run_tsc += vm->vcpus[i]->run_tsc;
        sums.slices += vm->vcpus[i]->slices;
        sums.migrations += vm->vcpus[i]->migrations;
    }
    return sums;
}

void sched_finish(void)
{
    outcome->finished++;
    outcome->finished_early |= outcome->made_count < machine.at_least;
}

const struct command commands_table[1];
const u32 commands_count = 0;

bool monitor_init(const struct host_options *options, const struct monitor_machine *of)
{
    assert_int_equal(options->idle_monitor, machine.idle_monitor);
    monitor_of = of;
    return !machine.no_interrupt;
}

enum status com2_open(const char *vm_name, struct refusal *why)
{
    return outcome->com2[0] && strcmp(outcome->com2, vm_name) ? refuse(why, STATUS_WRONG_STATE, "it is another's")
                                                              : (strcpy(outcome->com2, vm_name), STATUS_OK);
}

void com2_give(struct vm *vm)
{
    assert_string_equal(vm->spec.name, outcome->com2);
}

bool monitor_connect(struct vm *vm)
{
    strcpy(outcome->has_terminal, vm->spec.name);
    return !machine.no_interrupt;
}

void monitor_forget(struct vm *vm)
{
    outcome->forgotten++;
    (void)vm;
}

u64 monitor_work(u64 now_tsc)
{
    return now_tsc;
}

u64 console_show(u64 now_tsc)
{
    (void)now_tsc;
    return UINT64_MAX;
}

void console_set_show(void (*notify)(void))
{
    assert_null(notify);
}

void monitor_end(void)
{
    outcome->monitor_ended = true;
}

void gdb_stub_connect(struct vm *vm, const struct host_options *options)
{
    (void)options;
    strcpy(outcome->debugged, vm->spec.name);
}

enum status gdb_stub_open(struct refusal *why)
{
    outcome->opened = true;
    outcome->opened_early |= outcome->made_count < 2;
    return machine.stub_fails ? refuse(why, STATUS_UNSUPPORTED, "no UART at COM2") : STATUS_OK;
}

void gdb_stub_flush(void)
{
    outcome->flushed_first = !outcome->traced;
}

void trace_print_all(const struct vm *vms, void (*emit)(const char *text))
{
    for (; vms; vms = vms->next)
        outcome->traced++;
    emit("trace end");
}

bool serial_init(enum serial_port port)
{
    assert_int_equal(port, SERIAL_COM2);
    return !machine.no_com2;
}

bool serial_send_polled(enum serial_port port, const u8 *bytes, size_t count)
{
    assert_int_equal(port, SERIAL_COM2);
    assert_memory_equal(bytes, "rootlet: trace end\n", count);
    return true;
}

u64 rtc_read_seconds(u64 tsc_hz)
{
    (void)tsc_hz;
    return 0;
}

u64 virt_vm_entries(const struct vm *vm)
{
    (void)vm;
    return 77;
}

void virt_vm_print_statistics(const struct vm *vm)
{
    (void)vm;
}

/* ---- a run ---- */

static void run_in_child(void)
{
    static struct host_options options;
    u32 count = 0;

    for (; machine.lines[count]; count++)
        boot.modules[count] = (struct boot_module){hpa((u64)count * MODULE_BYTES), MODULE_BYTES, machine.lines[count]};
    boot.module_count = count;
    boot.modules_dropped = machine.dropped;
    if (machine.input)
        vms_set_console_input(machine.input);
    if (machine.gdb)
        strcpy(options.gdb, machine.gdb);
    vms_set_debugger(&options);
    options.idle_monitor = machine.idle_monitor;
    vms_set_monitor(&options);
    clock_init(1000000000); /* a tick is a nanosecond */
    vms_start(&boot, NULL);
    for (u32 i = 0; !machine.ends_at_once && i < outcome->made_count; i++) {
        assert_int_equal(outcome->finished, 0);
        life_run_ended(made[i]);
        life_work(cpu_tsc());
    }
    life_work(cpu_tsc());
    if (machine.idle_monitor && !machine.no_interrupt) {
        assert_int_equal(outcome->finished, 0);
        assert_false(vms_want_reboot());
        monitor_of->end(true);
        assert_true(vms_want_reboot());
    }
    vms_report_and_free(machine.trace);
    vms_print_failed();
    outcome->all_well = vms_all_well();
}

static void run(struct machine wanted)
{
    int status;

    machine = wanted;
    memset(outcome, 0, sizeof *outcome);
    pid_t child = fork();
    if (!child) {
        run_in_child();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(outcome->finished, 1);
    assert_int_equal(outcome->destroyed, outcome->made_count);
    assert_true(outcome->monitor_ended);
    assert_int_equal(outcome->forgotten, outcome->destroyed);
    assert_int_equal(outcome->frames, 0);
}

static void assert_refused(const char *name, const char *why)
{
    char line[300];

    snprintf(line, sizeof line, "vm refused name=%s why=\"%s", name, why);
    if (!strstr(outcome->log, line))
        fail_msg("no line '%s' in\n%s", line, outcome->log);
    assert_false(outcome->all_well);
}

static void assert_error(const char *text)
{
    char line[300];

    snprintf(line, sizeof line, "error: %s", text);
    if (!strstr(outcome->log, line))
        fail_msg("no line '%s' in\n%s", line, outcome->log);
    assert_false(outcome->all_well);
}

/* The last lines, after the statistics. */
static void assert_end(const char *wanted)
{
    size_t length = strlen(outcome->log);

    if (length < strlen(wanted) || strcmp(outcome->log + length - strlen(wanted), wanted) != 0)
        fail_msg("not at the end: '%s' of\n%s", wanted, outcome->log);
}

/* An option that cannot be had: said at once, and at the end again. */
static void assert_option_refused(const char *text)
{
    char line[300];

    assert_error(text);
    snprintf(line, sizeof line, "failed option=\"%s\"\n", text);
    assert_end(line);
}

/* ---- whose is a module ---- */

static void test_each_vm_gets_its_own_modules(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=a role=module -- early", "vm=a -- boot of a", "vm=b", "vm=b role=initrd -- rd of b",
                  "vm=a role=module", "vm=a role=initrd", "vm=b role=module -- last"}
    });
    assert_int_equal(outcome->made_count, 2);
    assert_string_equal(outcome->made[0], "a: boot1[boot of a] initrd5[] module0[early] module4[]");
    assert_string_equal(outcome->made[1], "b: boot2[] initrd3[rd of b] module6[last]");
    assert_true(outcome->all_well);
    assert_null(strstr(outcome->log, "refused"));
}

static void test_a_bad_module_refuses_its_vm_alone(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=a", "vm=b", "vm=a role=module mem=8M"}
    });
    assert_refused("a", "a line with role= takes only vm= and role=");
    assert_int_equal(outcome->made_count, 1);
    assert_string_equal(outcome->made[0], "b: boot1[]");
}

static void test_the_first_definition_counts(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=a -- first", "vm=a -- second", "vm=a role=module"}
    });
    assert_refused("a", "a second definition of this name");
    assert_int_equal(outcome->made_count, 1);
    assert_string_equal(outcome->made[0], "a: boot0[first] module2[]");
}

static void test_modules_of_nobody(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=lost role=module", "vm=lost2 role=initrd mem=1M", "quiet", "vm=a mem=7"}
    });
    assert_refused("lost", "it has a role=, but no line defines this VM");
    assert_refused("lost2", "a line with role= takes only");
    assert_refused("module3", "module line 'quiet' has no vm=");
    assert_refused("a", "mem=7");
    assert_int_equal(outcome->made_count, 0);
}

static void test_one_initrd_and_16_modules(void **state)
{
    struct machine many = {.lines = {"vm=a"}};

    (void)state;
    run((struct machine){
        .lines = {"vm=a", "vm=a role=initrd", "vm=a role=initrd"}
    });
    assert_refused("a", "a second role=initrd");
    for (u32 i = 1; i <= 16; i++)
        many.lines[i] = "vm=a role=module";
    run(many);
    assert_int_equal(outcome->made_count, 1);
    assert_non_null(strstr(outcome->made[0], " module16[]"));
    many.lines[17] = "vm=a role=module";
    run(many);
    assert_refused("a", "more than 16 modules");
    assert_int_equal(outcome->made_count, 0);
}

static void test_a_vm_that_cannot_be_made(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=a", "vm=b", "vm=c"},
          .no_memory_for = "b"
    });
    assert_refused("b", "no memory for it");
    assert_int_equal(outcome->made_count, 2);
}

/* ---- the end of the run ---- */

static void test_no_vm_is_no_success(void **state)
{
    (void)state;
    run((struct machine){.dropped = 0});
    assert_error("no module: nothing to run");
    run((struct machine){.lines = {"vm=a"}, .dropped = 3});
    assert_error("3 modules come after the first 256");
}

/* A VM that has ended before the next one is made is not the last one. run() counts the calls of sched_finish(). */
static void test_not_over_while_vms_are_being_started(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=a", "vm=b", "vm=c"},
          .ends_at_once = true, .at_least = 3
    });
    assert_int_equal(outcome->made_count, 3);
    assert_false(outcome->finished_early);
    assert_true(outcome->all_well);
}

static void test_one_bad_end_is_the_machines(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=a", "vm=b", "vm=c"},
          .ends_badly = true
    });
    assert_false(outcome->all_well);
    assert_null(strstr(outcome->log, "error"));
    assert_end("migrations=1\nfailed vm=a reason=triple-fault function=kmain+0x55 rip=0x1000 first=#UD "
               "remark=\"IDT limit 0\"\n");
}

/* The refused come first, as they did. All that went well is not said again. */
static void test_the_end_names_the_failures(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=a", "vm=b mem=7", "vm=c", "quiet"},
          .ends_badly = true
    });
    assert_non_null(strstr(outcome->log, "migrations=1\nfailed vm=b refused=\"mem=7"));
    assert_non_null(strstr(outcome->log, "\nfailed vm=module4 refused=\"module line 'quiet' has no vm="));
    assert_end("\nfailed vm=a reason=triple-fault function=kmain+0x55 rip=0x1000 first=#UD remark=\"IDT limit 0\"\n");
    run((struct machine){
        .lines = {"vm=a", "vm=b"}
    });
    assert_end("migrations=1\n");
}

/* A text that does not fit is counted, and the others are whole. */
static void too_many(void)
{
    char long_one[200];

    memset(long_one, 'x', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = 0;
    for (u32 i = 0; i < 90; i++)
        vms_note_failed("n=%u %s", i + 10, long_one);
    outcome->log[0] = 0;
    vms_print_failed();
    outcome->all_well = vms_all_well();
}

static void test_more_failures_than_fit(void **state)
{
    (void)state;
    memset(outcome, 0, sizeof *outcome);
    pid_t child = fork();
    if (!child) {
        too_many();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_false(outcome->all_well);
    assert_memory_equal(outcome->log, "failed n=10 xxx", 15);
    u32 count = 0;
    for (const char *at = outcome->log; (at = strstr(at, "failed n=")); at++)
        count++;
    assert_int_equal(count, 16384 / 205);
    assert_end("x\nfailed more=11\n");
}

/* ---- who is typed to, and who is debugged ---- */

static void test_terminal(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=a", "vm=b"},
          .input = "b"
    });
    assert_string_equal(outcome->has_terminal, "b");
    assert_true(outcome->all_well);
    run((struct machine){
        .lines = {"vm=a", "vm=b"},
          .input = "b", .no_interrupt = true
    });
    assert_option_refused("console.input=b: the serial port has no interrupt, so nothing typed arrives");
    assert_int_equal(outcome->made_count, 2);
    run((struct machine){
        .lines = {"vm=a", "vm=b"},
          .input = "c"
    });
    assert_option_refused("console.input=c: no line defines this VM; give a name that stands after vm=");
    assert_string_equal(outcome->has_terminal, "");
}

static void test_second_port(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=a console=com2", "vm=b console=com2", "vm=c console=com1"}
    });
    assert_string_equal(outcome->com2, "a");
    assert_refused("b", "it is another's");
    assert_int_equal(outcome->made_count, 2);
    run((struct machine){
        .lines = {"vm=a console=com2", "vm=b"},
          .gdb = "b"
    });
    assert_refused("a", "console=com2: gdb= has the port; leave one of them out");
    assert_string_equal(outcome->com2, "");
}

static void test_idle_monitor(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=a", "vm=b"},
          .idle_monitor = true
    });
    assert_true(outcome->all_well);
    run((struct machine){
        .lines = {"vm=a", "vm=b"},
          .idle_monitor = true, .no_interrupt = true
    });
    assert_option_refused("idle=monitor: the serial port has no interrupt, so nothing typed arrives");
}

/* What comes while a VM's memory is cleared would be lost: the port opens when all have been started. */
static void test_debugger(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=a", "vm=b"},
          .gdb = "a"
    });
    assert_string_equal(outcome->debugged, "a");
    assert_true(outcome->opened && !outcome->opened_early);
    assert_true(outcome->all_well);
    run((struct machine){
        .lines = {"vm=a", "vm=b"},
          .gdb = "a", .stub_fails = true
    });
    assert_option_refused("gdb=a: no UART at COM2; the VM runs without a debugger");
    run((struct machine){
        .lines = {"vm=a", "vm=b"},
          .gdb = "c"
    });
    assert_option_refused("gdb=c: no line defines this VM; give a name that stands after vm=");
    assert_false(outcome->opened);
}

static void test_trace(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=a", "vm=b"},
          .trace = TRACE_TO_SERIAL
    });
    assert_int_equal(outcome->traced, 2);
    assert_true(outcome->flushed_first && outcome->all_well);
    run((struct machine){.lines = {"vm=a"}, .trace = TRACE_TO_COM2});
    assert_true(outcome->traced == 1 && outcome->all_well);
    run((struct machine){.lines = {"vm=a"}, .trace = TRACE_TO_COM2, .no_com2 = true});
    assert_option_refused("trace=com2: no UART answers at COM2, or it does not send; use trace=serial");
    run((struct machine){.lines = {"vm=a"}});
    assert_int_equal(outcome->traced, 0);
}

/* Of all vCPUs; whole microseconds. */
static void test_statistics(void **state)
{
    (void)state;
    run((struct machine){
        .lines = {"vm=a cpus=2", "vm=b"}
    });
    assert_non_null(strstr(outcome->log, "vm stats name=a run_us=8000 wall_us=9000 slices=3 entries=77 exits=77 "
                                         "migrations=1\n"));
    assert_non_null(strstr(outcome->log, "vm stats name=b run_us=5000 wall_us=9000 slices=2 entries=77 exits=77 "
                                         "migrations=1\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_vm_gets_its_own_modules),
        cmocka_unit_test(test_a_bad_module_refuses_its_vm_alone),
        cmocka_unit_test(test_the_first_definition_counts),
        cmocka_unit_test(test_modules_of_nobody),
        cmocka_unit_test(test_one_initrd_and_16_modules),
        cmocka_unit_test(test_a_vm_that_cannot_be_made),
        cmocka_unit_test(test_no_vm_is_no_success),
        cmocka_unit_test(test_not_over_while_vms_are_being_started),
        cmocka_unit_test(test_one_bad_end_is_the_machines),
        cmocka_unit_test(test_the_end_names_the_failures),
        cmocka_unit_test(test_more_failures_than_fit),
        cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_idle_monitor),
        cmocka_unit_test(test_second_port),
        cmocka_unit_test(test_debugger),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_statistics),
    };

    outcome = mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return outcome == MAP_FAILED || cmocka_run_group_tests(tests, NULL, NULL);
}
