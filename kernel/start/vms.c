/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From module lines to VMs, and the sum of their ends. Boot CPU.
 */
#include "kernel/start/vms.h"
#include "arch/x86/paging.h"
#include "drivers/host/serial.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/frames.h"
#include "kernel/gdb/stub.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
#include "kernel/load/load.h"
#include "kernel/log.h"
#include "kernel/monitor/com2.h"
#include "kernel/monitor/commands.h"
#include "kernel/panic.h"
#include "kernel/start/life.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"

struct module_line {
    struct vm_spec spec;
    struct refusal why;
    bool bad;
};

static struct module_line lines[BOOT_MAX_MODULES];
static const struct boot_info *boot;
static const struct vm_board *board;
static u32 failed; /* atomic */
static const char *input_name = "";
static const struct host_options no_options;
static const struct host_options *debugger = &no_options;
static const struct vm *debugged_vm;

void vms_note_failure(void)
{
    __atomic_store_n(&failed, 1, __ATOMIC_SEQ_CST);
}

/* Texts, each with its NUL. What does not fit is counted. */
static char failures[16384];
static size_t failures_bytes;
static u32 failures_left_out;

void vms_note_failed(const char *format, ...)
{
    char *text = failures + failures_bytes;
    size_t room = sizeof failures - failures_bytes;
    va_list arguments;

    vms_note_failure();
    va_start(arguments, format);
    size_t used = room ? format_list(text, room, format, arguments) + 1 : 0;
    va_end(arguments);
    if (used < room)
        failures_bytes += used;
    else
        failures_left_out++;
}

void vms_print_failed(void)
{
    for (size_t at = 0; at < failures_bytes; at += string_length(failures + at) + 1)
        log_event("failed %s", failures + at);
    if (failures_left_out)
        log_event("failed more=%u", failures_left_out);
}

/* An option of the hypervisor's own that cannot be had. */
static void refuse_option(const struct refusal *why)
{
    log_error("%s", why->text);
    vms_note_failed("option=\"%s\"", why->text);
}

bool vms_all_well(void)
{
    return !__atomic_load_n(&failed, __ATOMIC_SEQ_CST);
}

static bool ordered, reboots;

static void end_machine(bool reboot)
{
    ordered = true;
    reboots = reboot;
    life_keep_up(false);
}

bool vms_end_was_ordered(void)
{
    return ordered;
}

bool vms_want_reboot(void)
{
    return reboots;
}

void vms_set_monitor(const struct host_options *options)
{
    static struct monitor_machine machine;
    struct refusal why;

    machine = (struct monitor_machine){commands_table, commands_count, end_machine};
    bool listens = monitor_init(options, &machine);
    if (!listens && (options->idle_monitor || options->monitor == MONITOR_START)) {
        refuse(&why, STATUS_UNSUPPORTED, "%s: the serial port has no interrupt, so nothing typed arrives",
               options->idle_monitor ? "idle=monitor" : "monitor=start");
        refuse_option(&why);
    }
    life_keep_up(listens && options->idle_monitor);
}

u64 vms_work(u64 now)
{
    u64 next = console_show(now), life = life_work(now), monitor = monitor_work(now);

    next = life < next ? life : next;
    return monitor < next ? monitor : next;
}

void vms_set_console_input(const char *name)
{
    input_name = name;
}

static void connect_terminal(struct vm *vm)
{
    struct refusal why;

    if (!string_equal(vm->spec.name, input_name))
        return;
    if (monitor_connect(vm))
        return;
    refuse(&why, STATUS_UNSUPPORTED, "console.input=%s: the serial port has no interrupt, so nothing typed arrives",
           input_name);
    refuse_option(&why);
}

void vms_connect(struct vm *vm)
{
    if (vm->spec.com2)
        com2_give(vm);
    connect_terminal(vm);
}

void vms_set_debugger(const struct host_options *options)
{
    debugger = options;
}

/* The first of that name, and its first run alone. */
static void connect_debugger(struct vm *vm)
{
    if (debugged_vm || vm->restart || !string_equal(vm->spec.name, debugger->gdb))
        return;
    gdb_stub_connect(vm, debugger);
    debugged_vm = vm;
}

/* When all VMs have started: what comes while memory is cleared with interrupts off would be lost. */
static void open_debugger(void)
{
    struct refusal why, whole;

    if (!debugged_vm || gdb_stub_open(&why) == STATUS_OK)
        return;
    refuse(&whole, STATUS_UNSUPPORTED, "gdb=%s: %s; the VM runs without a debugger", debugger->gdb, why.text);
    refuse_option(&whole);
}

void vms_refuse(const char *name, const char *why)
{
    log_event("vm refused name=%s why=\"%s\"", name, why);
    vms_note_failed("vm=%s refused=\"%s\"", name, why);
}

/* The boot module of this name that comes first, or NULL. */
static const struct module_line *boot_line_of(const char *name)
{
    for (u32 i = 0; i < boot->module_count; i++)
        if (lines[i].spec.role == VM_ROLE_BOOT && string_equal(lines[i].spec.name, name))
            return &lines[i];
    return NULL;
}

static struct image image_of(const struct boot_module *module, const char *line)
{
    return (struct image){phys_to_virt(module->start), module->size_bytes, line};
}

/* Gathers the modules of a VM. A bad line of one of them refuses the VM: *why is then that line's. */
static enum status gather(const struct life *life, struct load_request *request, struct refusal *why)
{
    const struct vm_spec *spec = &life->spec;

    *request = (struct load_request){.vm_name = spec->name,
                                     .kind = spec->kind,
                                     .boot = image_of(&boot->modules[life->module], spec->guest_command_line)};
    for (u32 i = 0; i < boot->module_count && life->loaded_name[0]; i++) {
        if (lines[i].spec.role == VM_ROLE_BOOT || !string_equal(lines[i].spec.name, life->loaded_name))
            continue;
        if (lines[i].bad) {
            *why = lines[i].why;
            return STATUS_INVALID;
        }
        struct image image = image_of(&boot->modules[i], lines[i].spec.guest_command_line);
        if (lines[i].spec.role == VM_ROLE_INITRD) {
            if (request->initrd.bytes)
                return refuse(why, STATUS_INVALID, "a second role=initrd; a VM takes one");
            request->initrd = image;
            continue;
        }
        if (request->module_count == LOAD_MAX_MODULES)
            return refuse(why, STATUS_NO_MEMORY, "more than %u modules with role=module", LOAD_MAX_MODULES);
        request->modules[request->module_count++] = image;
    }
    return STATUS_OK;
}

/* The port has one user. */
static enum status open_com2(const char *name, struct refusal *why)
{
    if (debugger->gdb[0] || debugger->trace == TRACE_TO_COM2)
        return refuse(why, STATUS_WRONG_STATE, "console=com2: %s has the port; leave one of them out",
                      debugger->gdb[0] ? "gdb=" : "trace=com2");
    return com2_open(name, why);
}

enum status vms_make(const struct life *life, u32 restart, struct vm **out, struct refusal *why)
{
    static struct load_request request;
    const struct vm_setup setup = {
        .spec = &life->spec, .request = &request, .board = board, .id = life->id, .restart = restart};
    enum status status = gather(life, &request, why);

    if (status == STATUS_OK && life->spec.com2)
        status = open_com2(life->spec.name, why);
    if (status == STATUS_OK)
        status = vm_create(&setup, out, why);
    if (status != STATUS_OK)
        return status;
    vms_connect(*out);
    connect_debugger(*out);
    return STATUS_OK;
}

static void start_vm(u32 index)
{
    const struct module_line *line = &lines[index];
    struct life *life;
    struct refusal why;

    if (boot_line_of(line->spec.name) != line)
        vms_refuse(line->spec.name, "a second definition of this name; use another vm= or give role=");
    else if (life_make(&line->spec, index, line->spec.name, &life, &why) != STATUS_OK)
        vms_refuse(line->spec.name, why.text);
}

/* ---- modules, for VMs that are started later ---- */

bool life_module(u32 index, struct life_module *out)
{
    if (index >= boot->module_count)
        return false;
    *out = (struct life_module){boot->modules[index].line, lines[index].spec.name, lines[index].spec.role,
                                boot->modules[index].size_bytes};
    return true;
}

const char *vms_name_of_module(u32 index)
{
    return !lines[index].bad && lines[index].spec.role == VM_ROLE_BOOT ? lines[index].spec.name : "";
}

/* What a line without keys would ask for, if the module's own does not say. */
static void spec_of_module(u32 index, struct vm_spec *spec)
{
    if (vms_name_of_module(index)[0])
        *spec = lines[index].spec;
    else
        CHECK(vm_spec_parse("vm=unnamed", spec, NULL) == STATUS_OK);
}

enum status vms_find_module(const char *text, u32 *index, struct vm_spec *spec, struct refusal *why)
{
    const struct module_line *line = boot_line_of(text);
    u64 number;

    if (line)
        *index = (u32)(line - lines);
    else if (string_to_number(text, string_length(text), &number) && number && number <= boot->module_count)
        *index = (u32)number - 1;
    else
        return refuse(why, STATUS_INVALID,
                      "there is no module '%.48s'; give a number from 1 to %u or a name after vm=", text,
                      boot->module_count);
    spec_of_module(*index, spec);
    return STATUS_OK;
}

static void check_orphan(u32 index)
{
    if (boot_line_of(lines[index].spec.name))
        return; /* gather() gives the VM its modules, and refuses it for a bad one */
    vms_refuse(lines[index].spec.name, lines[index].bad
                                           ? lines[index].why.text
                                           : "it has a role=, but no line defines this VM; add its boot image with "
                                             "the same vm= and no role=");
}

/* A VM that an option of the hypervisor's own names. */
static void check_name(const char *option, const char *name)
{
    struct refusal why;

    if (!name[0] || boot_line_of(name))
        return;
    refuse(&why, STATUS_INVALID, "%s=%s: no line defines this VM; give a name that stands after vm=", option, name);
    refuse_option(&why);
}

void vms_start(const struct boot_info *info, const struct vm_board *vm_board)
{
    boot = info;
    board = vm_board;
    for (u32 i = 0; i < boot->module_count; i++)
        lines[i].bad = vm_spec_parse(boot->modules[i].line, &lines[i].spec, &lines[i].why) != STATUS_OK;
    for (u32 i = 0; i < boot->module_count; i++) {
        char number[16];
        format_text(number, sizeof number, "module%u", i + 1);
        if (!lines[i].spec.name[0])
            vms_refuse(number, lines[i].why.text);
        else if (lines[i].spec.role != VM_ROLE_BOOT)
            check_orphan(i);
        else if (lines[i].bad)
            vms_refuse(lines[i].spec.name, lines[i].why.text);
        else
            start_vm(i);
    }
    check_name("console.input", input_name);
    check_name("gdb", debugger->gdb);
    open_debugger();
    if (boot->modules_dropped) {
        log_error("%u modules come after the first %u and are left out", boot->modules_dropped, BOOT_MAX_MODULES);
        vms_note_failure();
    }
    if (!boot->module_count) {
        log_error("no module: nothing to run; add a line like: module2 /guests/hello.elf vm=hello mem=8M");
        vms_note_failure();
    }
    life_end();
}

void vms_report(const struct vm *vm)
{
    struct vm_sums sums = vm_sums(vm);

    if (!vm->clean)
        vms_note_failed("vm=%s reason=%s%s%s%s%s%s", vm->spec.name, vm_stop_reason_name(vm->reason), vm->where,
                        vm->detail, vm->remark[0] ? " remark=\"" : "", vm->remark, vm->remark[0] ? "\"" : "");
    u64 entries = virt_vm_entries(vm);
    log_event("vm stats name=%s run_us=%lu wall_us=%lu slices=%lu entries=%lu exits=%lu migrations=%lu", vm->spec.name,
              clock_ns_from_tsc(sums.run_tsc) / 1000, clock_ns_from_tsc(sums.wall_tsc) / 1000, sums.slices, entries,
              entries, sums.migrations);
    virt_vm_print_statistics(vm);
}

static bool com2_works;

static void trace_to_com2(const char *text)
{
    char line[TRACE_LINE_BYTES + 16];
    size_t length = format_text(line, sizeof line, "rootlet: %s\n", text);

    com2_works = com2_works && serial_send_polled(SERIAL_COM2, (const u8 *)line, length);
}

static void print_trace(enum trace_to to)
{
    struct refusal why;

    if (to == TRACE_TO_SERIAL)
        trace_print_all(life_list_runs(), log_text);
    if (to != TRACE_TO_COM2)
        return;
    com2_works = serial_init(SERIAL_COM2);
    trace_print_all(life_list_runs(), trace_to_com2);
    if (com2_works)
        return;
    refuse(&why, STATUS_UNSUPPORTED, "trace=com2: no UART answers at COM2, or it does not send; use trace=serial");
    refuse_option(&why);
}

void vms_report_and_free(enum trace_to trace)
{
    monitor_end();
    console_set_show(NULL);
    gdb_stub_flush();
    print_trace(trace);
    life_forget_all();
}
