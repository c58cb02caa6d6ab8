/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The flight recorder in words: the last records of a report, and all of them for tools/trace. Readers take no lock: a
 * record that its CPU is writing may be printed half old, half new. Runs in a panic, so it allocates nothing and takes
 * little stack.
 */
#include "arch/x86/smp.h"
#include "kernel/clock.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/format.h"
#include "kernel/lib/string.h"
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

static const char *const event_names[] = {"enter", "leave",        "wake",      "migrate", "inject", "kick",
                                          "sleep", "awake",        "vm-start",  "vm-stop", "init",   "sipi",
                                          "nmi",   "entry-failed", "vm-create", "vm-end",  "vm-done"};
static const char *const action_names[] = {"skip", "resume",      "skip-decoded", "stop",
                                           "left", "deliver-low", "to-inner",     "to-hypervisor"};

/* What a detail is, by event; NULL: nothing. */
static const char *const event_details[] = {
    [TRACE_ENTER - TRACE_ENTER] = "budget",       [TRACE_MIGRATE - TRACE_ENTER] = "to",
    [TRACE_INJECT - TRACE_ENTER] = "info",        [TRACE_KICK - TRACE_ENTER] = "target",
    [TRACE_SLEEP - TRACE_ENTER] = "until",        [TRACE_SIPI - TRACE_ENTER] = "vector",
    [TRACE_ENTRY_FAILED - TRACE_ENTER] = "error", [TRACE_VM_CREATE - TRACE_ENTER] = "number",
    [TRACE_VM_END - TRACE_ENTER] = "number",      [TRACE_VM_DONE - TRACE_ENTER] = "number",
};
static const char *const leave_names[] = {"preempted", "blocked", "stopped"};

#define EXIT_EXCEPTION_OR_NMI   0u
#define EXIT_EXTERNAL_INTERRUPT 1u
#define EXIT_IO                 30u
#define EVENT_VALID             BIT(31)
#define EVENT_TYPE(info)        ((info) >> 8 & 7)
#define EVENT_TYPE_EXTERNAL     0u
#define EVENT_TYPE_NMI          2u
#define EVENT_TYPE_SOFTWARE     4u

/* SDM 3A 6.3.1 "External Interrupts", table 6-1 "Protected-Mode Exceptions and Interrupts". */
static const char *const vector_names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", NULL,  "#TS",
                                           "#NP", "#SS", "#GP", "#PF", NULL,  "#MF", "#AC", "#MC", "#XM", "#VE", "#CP"};

const char *trace_vector_name(u8 vector)
{
    return vector < ARRAY_SIZE(vector_names) && vector_names[vector] ? vector_names[vector] : "unknown";
}

/* SDM 3C 24.8.3 "VM-Entry Controls for Event Injection", 24.9.2 "Information for VM Exits Due to Vectored Events". */
static size_t put_event(char *to, size_t size, u32 info)
{
    if (!(info & EVENT_VALID))
        return 0;
    if (EVENT_TYPE(info) == EVENT_TYPE_EXTERNAL || EVENT_TYPE(info) == EVENT_TYPE_SOFTWARE)
        return format_text(to, size, " vector=0x%x", info & 0xff);
    return format_text(to, size, " event=%s", EVENT_TYPE(info) == EVENT_TYPE_NMI ? "NMI" : trace_vector_name((u8)info));
}

static bool has_event(const struct trace_record *record)
{
    return record->cause == EXIT_EXCEPTION_OR_NMI || record->cause == EXIT_EXTERNAL_INTERRUPT ||
           record->cause == TRACE_INJECT;
}

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
    if (!name)
        return 0;
    size_t used = format_text(to, size, " %s=0x%lx", name, record->detail);
    return has_event(record) ? used + put_event(to + used, size - used, (u32)record->detail) : used;
}

static const char *cause_name(u8 cause)
{
    if (cause < TRACE_ENTER)
        return virt_exit_name(cause);
    return cause - TRACE_ENTER < (int)ARRAY_SIZE(event_names) ? event_names[cause - TRACE_ENTER] : "unknown";
}

/* Who and when. vm: whose name to print; NULL: its number stands for it. */
static size_t put_head(char *to, size_t size, u32 cpu, const struct trace_record *record, const struct vm *vm)
{
    size_t used = format_text(to, size, "last cpu=%u tsc=%lu", cpu, record->tsc);

    if (vm)
        used += format_text(to + used, size - used, " vm=%s", vm->spec.name);
    else
        used += format_text(to + used, size - used, " vm=%u", record->vcpu >> 4);
    return used + format_text(to + used, size - used, " vcpu=%u", record->vcpu & 15);
}

static void print_record(u32 cpu, const struct trace_record *record, const struct vm *vm,
                         void (*emit)(const char *text))
{
    char line[TRACE_LINE_BYTES];
    size_t used = put_head(line, sizeof line, cpu, record, vm);

    used += format_text(line + used, sizeof line - used, " %s", cause_name(record->cause));
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

void trace_collect(const struct vm *vm, struct trace_story *last)
{
    struct place places[2 * CPU_MAX];
    const struct trace_record *next;
    u32 from = 0, rings = 0;

    for (; rings < 2 * smp_cpu_count() && ring_of(rings).records; rings++)
        places[rings] = begin(rings);
    last->count = 0;
    while (last->count < TRACE_LAST && (next = take_newest(places, rings, vm, &from))) {
        last->cpus[last->count] = (u8)(from / 2);
        last->count += copy_record(next, vm, &last->records[last->count]);
    }
}

/* ---- what repeats, folded ---- */

#define FOLD_PERIOD 4u /* records of the longest pattern that is looked for */
#define FOLD_LEAST  3u /* records: fewer are no longer to read than their fold */

/* One tells nothing that the other does not, but when. The ticks that a vCPU has differ each time. */
static bool are_alike(const struct trace_story *last, u32 a, u32 b)
{
    const struct trace_record *one = &last->records[a], *two = &last->records[b];
    char details[2][TRACE_LINE_BYTES / 2];

    if (last->cpus[a] != last->cpus[b] || one->tag != two->tag)
        return false;
    if (one->cause == TRACE_ENTER || one->detail == two->detail)
        return true;
    details[0][0] = details[1][0] = 0;
    put_detail(details[0], sizeof details[0], one);
    put_detail(details[1], sizeof details[1], two);
    return string_equal(details[0], details[1]);
}

/* How often in a row the `period` records before `end`, oldest of which comes first, are there. */
static u32 count_repeats(const struct trace_story *last, u32 end, u32 period)
{
    u32 at = end;

    while (at > period && are_alike(last, at - 1, at - 1 - period))
        at--;
    return (end - at) / period + 1;
}

/* The shortest pattern that covers most; its number of repeats, or 0 if nothing is to be folded. */
static u32 find_fold(const struct trace_story *last, u32 end, u32 *period)
{
    u32 best = 0;

    for (u32 p = 1; p <= FOLD_PERIOD && p <= end; p++) {
        u32 repeats = count_repeats(last, end, p);
        if (repeats > 1 && p * repeats >= FOLD_LEAST && p * repeats > *period * best) {
            best = repeats;
            *period = p;
        }
    }
    return best;
}

static size_t put_short(char *to, size_t size, const struct trace_record *record)
{
    if (record->cause == EXIT_IO)
        return format_text(to, size, " %s 0x%x", record->detail & 8 ? "in" : "out",
                           (u32)(record->detail >> 16 & 0xffff));
    size_t used = format_text(to, size, " %s", cause_name(record->cause));
    if (record->cause != TRACE_ENTER)
        used += put_detail(to + used, size - used, record);
    return record->action >= 16 ? used + format_text(to + used, size - used, " deliver=%u", record->action) : used;
}

static void print_fold(const struct trace_story *last, u32 end, u32 period, u32 repeats, const struct vm *vm,
                       void (*emit)(const char *text))
{
    char line[TRACE_LINE_BYTES];
    size_t used = put_head(line, sizeof line, last->cpus[end - 1], &last->records[end - 1], vm);

    for (u32 i = 1; i <= period; i++) {
        used += put_short(line + used, sizeof line - used, &last->records[end - i]);
        used += format_text(line + used, sizeof line - used, i < period ? "," : ": %u times", repeats);
    }
    emit(line);
}

bool trace_print_oldest(struct trace_story *last, bool folded, const struct vm *vm, void (*emit)(const char *text))
{
    u32 end = last->count, period = 1;

    if (!end)
        return false;
    u32 repeats = folded ? find_fold(last, end, &period) : 0;
    if (repeats)
        print_fold(last, end, period, repeats, vm, emit);
    else
        print_record(last->cpus[end - 1], &last->records[end - 1], vm, emit);
    last->count -= repeats ? period * repeats : 1;
    return true;
}

void trace_print_newest(const struct vm *vm, u32 count, void (*emit)(const char *text))
{
    struct trace_story last;

    trace_collect(vm, &last);
    if (last.count > count)
        last.count = count;
    while (trace_print_oldest(&last, false, vm, emit))
        ;
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
