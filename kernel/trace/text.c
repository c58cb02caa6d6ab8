/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The flight recorder in words: the last records of a report, and all of them for tools/trace. Readers take no lock: a
 * record that its CPU is writing may be printed half old, half new. Runs in a panic, so it allocates nothing and takes
 * little stack.
 */
#include "arch/x86/smp.h"
#include "kernel/clock.h"
#include "kernel/lib/format.h"
#include "kernel/trace/trace.h"
#include "kernel/virt.h"

/* Where a reader is in a ring, which it reads from its newest record backwards. */
struct place {
    u16 newest;
    u16 passed; /* records already read */
};

/* Rings are numbered: CPU * 2, plus 1 for events. */
static struct trace_ring ring_of(u32 ring)
{
    return trace_ring(ring / 2, ring & 1);
}

static struct place begin(u32 ring)
{
    return (struct place){(u16)ring_of(ring).newest, 0};
}

/* The next older record, or NULL: a slot that was never written has TSC 0. */
static const struct trace_record *peek(u32 ring, const struct place *place)
{
    struct trace_ring of = ring_of(ring);
    const struct trace_record *record = of.records + ((u32)(place->newest - place->passed) & (of.size - 1));

    return place->passed < of.size && record->tsc ? record : NULL;
}

/* ---- the last records as words ---- */

static const char *const event_names[] = {"enter", "leave",    "wake",    "migrate", "inject", "kick", "sleep",
                                          "awake", "vm-start", "vm-stop", "init",    "sipi",   "nmi",  "entry-failed"};
static const char *const action_names[] = {"skip", "resume", "skip-decoded", "stop", "left", "deliver-low"};

/* What a detail is, by event; NULL: nothing. */
static const char *const event_details[] = {
    [TRACE_ENTER - TRACE_ENTER] = "budget",       [TRACE_MIGRATE - TRACE_ENTER] = "to",
    [TRACE_INJECT - TRACE_ENTER] = "info",        [TRACE_KICK - TRACE_ENTER] = "target",
    [TRACE_SLEEP - TRACE_ENTER] = "until",        [TRACE_SIPI - TRACE_ENTER] = "vector",
    [TRACE_ENTRY_FAILED - TRACE_ENTER] = "error",
};
static const char *const leave_names[] = {"preempted", "blocked", "stopped"};

#define EXIT_IO 30u

/* SDM 3C 27.2.1, table "Exit Qualification for I/O Instructions". */
static size_t put_io(char *to, size_t size, u64 q)
{
    return format_text(to, size, " %s port=0x%x bytes=%u", q & 8 ? "in" : "out", (u32)(q >> 16 & 0xffff),
                       (u32)(q & 7) + 1);
}

static size_t put_detail(char *to, size_t size, const struct trace_record *record)
{
    u32 event = record->cause - (u32)TRACE_ENTER;
    const char *name = NULL;

    if (record->cause == EXIT_IO)
        return put_io(to, size, record->detail);
    if (record->cause == TRACE_VM_STOP)
        return format_text(to, size, " reason=%s", vm_stop_reason_name((enum vm_stop_reason)record->detail));
    if (record->cause == TRACE_LEAVE && record->detail < ARRAY_SIZE(leave_names))
        return format_text(to, size, " %s", leave_names[record->detail]);
    if (record->cause < TRACE_ENTER)
        name = virt_exit_detail(record->cause);
    else if (event < ARRAY_SIZE(event_details))
        name = event_details[event];
    return name ? format_text(to, size, " %s=0x%lx", name, record->detail) : 0;
}

static const char *cause_name(u8 cause)
{
    if (cause < TRACE_ENTER)
        return virt_exit_name(cause);
    return cause - TRACE_ENTER < (int)ARRAY_SIZE(event_names) ? event_names[cause - TRACE_ENTER] : "unknown";
}

/* vm: whose name to print; NULL: its number stands for it. */
static void print_record(u32 cpu, const struct trace_record *record, const struct vm *vm,
                         void (*emit)(const char *text))
{
    char line[TRACE_LINE_BYTES];
    size_t used = format_text(line, sizeof line, "last cpu=%u tsc=%lu", cpu, record->tsc);

    if (vm)
        used += format_text(line + used, sizeof line - used, " vm=%s", vm->spec.name);
    else
        used += format_text(line + used, sizeof line - used, " vm=%u", record->vcpu >> 4);
    used += format_text(line + used, sizeof line - used, " vcpu=%u %s", record->vcpu & 15, cause_name(record->cause));
    if (record->cause <= TRACE_ENTER)
        used += format_text(line + used, sizeof line - used, " rip=0x%lx", record->rip);
    used += put_detail(line + used, sizeof line - used, record);
    if (record->action >= 16)
        used += format_text(line + used, sizeof line - used, " deliver=%u", record->action);
    else if (record->cause < TRACE_ENTER && record->action < ARRAY_SIZE(action_names))
        used += format_text(line + used, sizeof line - used, " %s", action_names[record->action]);
    if (record->cause <= TRACE_ENTER)
        format_text(line + used, sizeof line - used, " ticks=%u", record->entry_tsc - record->tsc_low);
    emit(line);
}

static bool belongs_to(const struct trace_record *record, const struct vm *vm)
{
    return record->vcpu >> 4 == trace_vm_number(vm);
}

/* Of all rings, the newest record that was not read yet and belongs to the VM. */
static const struct trace_record *take_newest(struct place *places, u32 count, const struct vm *vm, u32 *from)
{
    const struct trace_record *best = NULL;

    for (u32 ring = 0; ring < count; ring++) {
        const struct trace_record *record;
        while ((record = peek(ring, &places[ring])) && vm && !belongs_to(record, vm))
            places[ring].passed++;
        if (record && (!best || record->tsc > best->tsc)) {
            best = record;
            *from = ring;
        }
    }
    if (best)
        places[*from].passed++;
    return best;
}

/* A copy, for its CPU may be writing over it: false if that has begun since it was chosen. */
static bool copy_record(const struct trace_record *from, const struct vm *vm, struct trace_record *to)
{
    u64 tsc = from->tsc;

    *to = *(const volatile struct trace_record *)from;
    return to->tsc == tsc && (!vm || belongs_to(to, vm));
}

void trace_print_last(const struct vm *vm, void (*emit)(const char *text))
{
    struct place places[2 * CPU_MAX];
    struct trace_record found[TRACE_LAST];
    u8 cpus[TRACE_LAST];
    const struct trace_record *next;
    u32 count = 0, from = 0, ring = 0;

    for (; ring < 2 * smp_cpu_count() && ring_of(ring).records; ring++)
        places[ring] = begin(ring);
    while (count < TRACE_LAST && (next = take_newest(places, ring, vm, &from))) {
        cpus[count] = (u8)(from / 2);
        count += copy_record(next, vm, &found[count]);
    }
    while (count--)
        print_record(cpus[count], &found[count], vm, emit);
}

/* ---- all of them, for tools/trace ---- */

#define RECORDS_A_LINE 3u /* 96 bytes: 128 characters without padding */

static size_t put_base64(char *to, const u8 *bytes, u32 count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t used = 0;

    for (u32 i = 0; i < count; i += 3) {
        u32 left = count - i;
        u32 group = (u32)bytes[i] << 16 | (left > 1 ? (u32)bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);
        for (u32 digit = 0; digit < 4; digit++)
            to[used++] = digit <= left ? digits[group >> (18 - 6 * digit) & 63] : '=';
    }
    return used;
}

static void print_ring(u32 ring, void (*emit)(const char *text))
{
    char line[TRACE_LINE_BYTES];
    struct trace_record some[RECORDS_A_LINE];
    struct place place = begin(ring);
    struct trace_ring of = ring_of(ring);

    while (peek(ring, &place))
        place.passed++;
    u32 left = place.passed;
    format_text(line, sizeof line, "trace ring cpu=%u kind=%s records=%u lost=%s", ring / 2,
                ring & 1 ? "events" : "exits", left, left == of.size ? "some" : "0");
    emit(line);
    while (left) {
        u32 n = 0;
        for (; n < RECORDS_A_LINE && left; n++, left--)
            some[n] = of.records[(place.newest - (left - 1)) & (of.size - 1)];
        size_t used = format_text(line, sizeof line, "trace data=");
        used += put_base64(line + used, (const u8 *)some, n * (u32)sizeof some[0]);
        line[used] = 0;
        emit(line);
    }
}

void trace_print_all(const struct vm *vms, void (*emit)(const char *text))
{
    char line[TRACE_LINE_BYTES];

    format_text(line, sizeof line, "trace version=%u tsc_hz=%lu cpus=%u record_bytes=%u", TRACE_VERSION, clock_tsc_hz(),
                smp_cpu_count(), (u32)sizeof(struct trace_record));
    emit(line);
    for (; vms; vms = vms->next) {
        format_text(line, sizeof line, "trace vm id=%u name=%s cpus=%u", trace_vm_number(vms), vms->spec.name,
                    vms->spec.cpus);
        emit(line);
    }
    for (u32 ring = 0; ring < 2 * smp_cpu_count(); ring++)
        print_ring(ring, emit);
    emit("trace end");
}
