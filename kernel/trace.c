/*
 * The flight recorder's rings. A CPU's ring of exits is written on the exit path (trace_begin), its ring of events
 * here, by the CPU itself with interrupts off.
 */
#include "kernel/trace.h"
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "arch/x86/smp.h"
#include "kernel/frames.h"
#include "kernel/vm.h"

#define EVENT_RING_BYTES (TRACE_EVENT_RECORDS * sizeof(struct trace_record))

struct rings {
    struct trace_record *exits;  /* NULL: this CPU records nothing yet */
    struct trace_record *events; /* behind the exits */
    u32 event_count;             /* ever written */
} ALIGNED(64);                   /* a cache line of its own: each CPU counts for itself */
static struct rings rings[CPU_MAX];

enum status trace_init(struct refusal *why)
{
    u64 bytes = TRACE_RING_BYTES + EVENT_RING_BYTES;
    hpa_t base;

    for (u32 i = 0; i < smp_cpu_count(); i++) {
        if (frames_allocate(bytes / FRAME_BYTES, 2 * TRACE_RING_BYTES / FRAME_BYTES, &base) != STATUS_OK)
            return refuse(why, STATUS_NO_MEMORY, "no %lu KiB of memory in one piece for the flight recorder of cpu %u",
                          bytes / 1024, i);
        rings[i].exits = phys_to_virt(base);
        rings[i].events = rings[i].exits + TRACE_EXIT_RECORDS;
        cpu_local_of(i)->trace = rings[i].exits + TRACE_EXIT_RECORDS - 1; /* the next one is the first */
    }
    return STATUS_OK;
}

static u32 tag_of(const struct vcpu *vcpu)
{
    return vcpu ? trace_tag(vcpu->vm->id + 1, vcpu->index) : 0;
}

void trace_event(enum trace_cause cause, const struct vcpu *vcpu, u64 detail)
{
    struct rings *own = &rings[cpu_id()];
    struct trace_record *record = &own->events[own->event_count++ % TRACE_EVENT_RECORDS];

    record->tsc = cpu_tsc();
    record->rip = 0;
    record->detail = detail;
    record->entry_tsc = 0;
    record->tag = tag_of(vcpu);
    record->cause = (u8)cause;
}

struct trace_ring trace_ring(u32 cpu, bool events)
{
    const struct rings *of = &rings[cpu];

    if (events)
        return (struct trace_ring){of->events, TRACE_EVENT_RECORDS, (of->event_count - 1) % TRACE_EVENT_RECORDS};
    const struct trace_record *last = cpu_local_of(cpu)->trace;
    return (struct trace_ring){of->exits, TRACE_EXIT_RECORDS, (u32)(last - of->exits)};
}
