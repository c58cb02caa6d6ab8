/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The flight recorder's rings. A CPU's ring of exits is written on the exit path (trace_begin), its ring of events
 * here, by the CPU itself with interrupts off.
 */
#include "kernel/trace/trace.h"
#include "arch/x86/paging.h"
#include "arch/x86/smp.h"
#include "kernel/frames.h"

/* The exits', with the events' behind it; NULL: this CPU records nothing yet. */
static struct trace_record *rings[CPU_MAX];

enum status trace_init(struct refusal *why)
{
    u64 bytes = TRACE_EXIT_BYTES + TRACE_EVENT_BYTES;
    hpa_t base;

    for (u32 i = 0; i < smp_cpu_count(); i++) {
        if (frames_allocate(bytes / FRAME_BYTES, 2 * TRACE_EXIT_BYTES / FRAME_BYTES, &base) != STATUS_OK)
            return refuse(why, STATUS_NO_MEMORY, "no %lu KiB of memory in one piece for the flight recorder of cpu %u",
                          bytes / 1024, i);
        rings[i] = phys_to_virt(base);
        /* The next one is the first. */
        cpu_local_of(i)->trace_exit = rings[i] + TRACE_EXIT_RECORDS - 1;
        cpu_local_of(i)->trace_event = rings[i] + TRACE_EXIT_RECORDS + TRACE_EVENT_RECORDS - 1;
    }
    return STATUS_OK;
}

void trace_event(enum trace_cause cause, const struct vcpu *vcpu, u64 detail)
{
    struct trace_record *record = trace_next(CPU_LOCAL_GET(trace_event), TRACE_EVENT_BYTES, vcpu ? vcpu->trace_tag : 0);

    CPU_LOCAL_SET(trace_event, record);
    record->rip = 0;
    record->detail = detail;
    record->entry_tsc = 0;
    record->cause = (u8)cause;
}

struct trace_ring trace_ring(u32 cpu, bool events)
{
    const struct trace_record *first = rings[cpu];
    const struct cpu_local *local = cpu_local_of(cpu);

    if (!first)
        return (struct trace_ring){NULL, 0, 0};
    if (!events)
        return (struct trace_ring){first, TRACE_EXIT_RECORDS,
                                   (u32)((const struct trace_record *)local->trace_exit - first)};
    first += TRACE_EXIT_RECORDS;
    return (struct trace_ring){first, TRACE_EVENT_RECORDS,
                               (u32)((const struct trace_record *)local->trace_event - first)};
}
