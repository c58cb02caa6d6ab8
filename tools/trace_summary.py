# SPDX-License-Identifier: BSD-2-Clause
"""A trace as tables: what exits cost by cause, what each CPU and each vCPU did with its time."""
import collections
import math

import trace_model
import trace_record as rec


def rank(ordered, percent):
    """The least value that `percent` of all do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


Cost = collections.namedtuple("Cost", "name count median p99 maximum total")


def costs(exits):
    """A Cost for each cause, the most expensive in total first. Exits whose end is not on record are counted only."""
    ticks, counts = collections.defaultdict(list), collections.Counter()
    for done in exits:
        counts[done.record.name] += 1
        if done.whole:
            ticks[done.record.name].append(done.record.ticks)
    found = []
    for name, count in counts.items():
        values = sorted(ticks[name]) or [0]
        found.append(Cost(name, count, rank(values, 50), rank(values, 99), values[-1], sum(values)))
    return sorted(found, key=lambda cost: (-cost.total, cost.name))


def share(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"


def table(header, rows):
    """Columns as wide as needed; the first to the left, numbers to the right."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in [header] + rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        yield "  ".join([row[0].ljust(widths[0])]
                        + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]).rstrip()


def cost_table(title, exits):
    found = costs(exits)
    total = sum(cost.total for cost in found)
    rows = [[c.name, c.count, c.median, c.p99, c.maximum, c.total, share(c.total, total)] for c in found]
    if len(found) > 1:
        values = sorted(done.record.ticks for done in exits if done.whole) or [0]
        rows.append(["all", len(exits), rank(values, 50), rank(values, 99), values[-1], total, share(total, total)])
    return table([title, "count", "median ticks", "99 % ticks", "maximum ticks", "total ticks", "share"], rows)


def delivered(record):
    """The record's entry delivers an interrupt, or its event goes in with the next one."""
    enters = record.is_exit or record.cause == rec.ENTER
    return record.cause == rec.INJECT or (record.action >= rec.FIRST_VECTOR and enters)


def entered(record):
    """A VM entry follows."""
    return (record.is_exit or record.cause == rec.ENTER) and record.action not in (rec.STOP, rec.LEFT)


def time_in(selection, spans):
    clipped = [selection.clip(span.start, span.end) for span in spans]
    return sum(span.end - span.start for span in clipped if span)


def cpu_rows(model, selection):
    """Where each CPU's time went while all its records are there."""
    for cpu in filter(selection.has_cpu, range(model.trace.cpus)):
        part = trace_model.Selection(max(selection.start, model.known_from[cpu]), selection.end, selection.vms, {cpu})
        runs = [run for run in model.runs[cpu] if part.has_vcpu(run.vcpu)]
        guest = time_in(part, [span for run in runs for span in run.guest])
        exits = time_in(part, [done for run in runs for done in run.exits])
        works = time_in(part, filter(part.has_work, model.works[cpu]))
        asleep = time_in(part, model.sleeps[cpu])
        whole = max(0, part.end - part.start)
        records = [record for record in model.records if part.has(record)]
        yield [f"CPU {cpu}", whole, share(guest, whole), share(exits, whole), share(works, whole),
               share(whole - guest - exits - works - asleep, whole), share(asleep, whole), sum(map(entered, records)),
               sum(map(delivered, records))]


def vcpu_rows(model, selection):
    for vcpu in filter(selection.has_vcpu, model.vcpus):
        spent = collections.Counter()
        for state in model.states[vcpu]:
            spent[state.name] += time_in(selection, [state])
        runs = [run for run in model.vcpu_runs[vcpu] if selection.clip(run.start, run.end)]
        exits = [done for run in runs for done in run.exits if selection.has(done.record)]
        records = [record for record in model.marks[vcpu] if selection.has(record)] + [done.record for done in exits]
        records += [done.record for run in runs for done in run.enters if selection.has(done.record)]
        moves = sum(before.cpu != after.cpu for before, after in zip(runs, runs[1:]))
        yield [model.trace.vcpu_name(vcpu), spent[trace_model.RUNNING], spent[trace_model.READY],
               spent[trace_model.BLOCKED], len(exits), sum(map(delivered, records)), moves]


def level_rows(model, selection):
    """For each vCPU that has had an inner guest: the time of both levels, and Rootlet's for either."""
    for vcpu in filter(selection.has_vcpu, model.vcpus):
        runs = [run for run in model.vcpu_runs[vcpu] if selection.clip(run.start, run.end)]
        inner = time_in(selection, [span for run in runs for span in run.inner])
        exits = [done for run in runs for done in run.exits if selection.has(done.record)]
        of_inner = [done for done in exits if done.inner]
        given = [done for done in of_inner if done.record.action == rec.TO_HYPERVISOR]
        if not inner and not of_inner:
            continue
        guest = time_in(selection, [span for run in runs for span in run.guest])
        for_inner, whole = time_in(selection, of_inner), time_in(selection, exits)
        yield [model.trace.vcpu_name(vcpu), inner, guest - inner, for_inner, whole - for_inner, len(given),
               len(of_inner) - len(given), len(exits) - len(of_inner)]


def text(model, selection):
    trace = model.trace
    exits = model.exits(selection)
    lines = [f"{1000 * (selection.end - selection.start) / trace.tsc_hz:.3f} ms on {trace.cpus} CPUs, "
             f"{len(trace.vms)} VMs, "
             f"{len(exits):,} exits; all figures in ticks of the TSC, {trace.tsc_hz / 1e6:g} million a second"]
    lines += [f"note: {warning}" for warning in trace.warnings]
    unfinished = sum(not done.whole for done in exits)
    if unfinished:
        lines.append(f"note: {unfinished} exits have no end on record: they are counted, but not timed")
    lines += ["", *cost_table("exits by cause", exits)]
    vcpus = [vcpu for vcpu in model.vcpus if selection.has_vcpu(vcpu)]
    if selection.vms is not None and len(vcpus) > 1:
        for vcpu in vcpus:
            lines += ["",
                      *cost_table(f"of {trace.vcpu_name(vcpu)}", [done for done in exits if done.record.vcpu == vcpu])]
    header = ["CPUs", "recorded ticks", "guest", "exits", "VMs", "other", "asleep", "entries", "deliveries"]
    lines += ["", *table(header, list(cpu_rows(model, selection)))]
    header = ["vCPUs", "running ticks", "ready ticks", "blocked ticks", "exits", "deliveries", "migrations"]
    lines += ["", *table(header, list(vcpu_rows(model, selection)))]
    levels = list(level_rows(model, selection))
    if levels:
        header = ["guest hypervisors", "inner guest ticks", "own ticks", "exits of inner ticks", "other exits ticks",
                  "inner exits given", "inner exits kept", "other exits"]
        lines += ["", *table(header, levels)]
    return "\n".join(lines) + "\n"
