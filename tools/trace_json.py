# SPDX-License-Identifier: BSD-2-Clause
"""A trace as Trace Event Format JSON, which ui.perfetto.dev and chrome://tracing open.

Process "CPUs" has a thread for each CPU; each VM is a process with a thread for each of its vCPUs. Times are rounded to
nanoseconds once, from the trace's first record on, so that what lies within another span still does.
"""
import json

import trace_model
import trace_record as rec

CPUS_PID = 1
VM_PID = 1000  # plus the VM's number
CPU_TID = 10  # plus the CPU's number
VCPU_TID = 2000  # plus VM times 16 plus index: unique among all threads, which Perfetto wants
# Names of colours that chrome://tracing has.
STATE_COLOURS = {trace_model.RUNNING: "thread_state_running", trace_model.READY: "thread_state_runnable",
                 trace_model.BLOCKED: "thread_state_sleeping", trace_model.AWAY: "thread_state_unknown"}
# Events that are shown as an instant; the others are the ends of slices.
INSTANTS = (rec.WAKE, rec.MIGRATE, rec.INJECT, rec.KICK, rec.VM_START, rec.VM_STOP, rec.INIT, rec.SIPI, rec.NMI,
            rec.ENTRY_FAILED)


class Writer:
    def __init__(self, model, selection):
        self.model, self.trace, self.selection = model, model.trace, selection
        self.events, self.metadata, self.flows = [], [], 0

    def nanoseconds(self, tsc):
        return round((tsc - self.model.start) * 1_000_000_000 / self.trace.tsc_hz)

    def name(self, what, pid, tid, key, value):
        self.metadata.append({"ph": "M", "ts": 0, "pid": pid, "tid": tid, "name": what, "args": {key: value}})

    def process(self, pid, name, order):
        self.name("process_name", pid, 0, "name", name)
        self.name("process_sort_index", pid, 0, "sort_index", order)

    def thread(self, pid, tid, name, order):
        self.name("thread_name", pid, tid, "name", name)
        self.name("thread_sort_index", pid, tid, "sort_index", order)

    def span(self, track, span, name, category, args=None, colour=None):
        """A complete event of the part of the span that is selected; nothing if there is none."""
        clipped = self.selection.clip(span.start, span.end)
        if clipped is None:
            return
        start, end = self.nanoseconds(clipped.start), self.nanoseconds(clipped.end)
        event = {"ph": "X", "ts": start / 1000, "dur": (end - start) / 1000, "pid": track[0], "tid": track[1],
                 "name": name, "cat": category}
        if args:
            event["args"] = args
        if colour:
            event["cname"] = colour
        self.events.append(event)

    def instant(self, track, record):
        detail = rec.detail_words(record)
        args = {"tsc": record.tsc, "cpu": record.cpu}
        if record.vcpu:
            args["vcpu"] = self.trace.vcpu_name(record.vcpu)
        if detail:
            args["detail"] = detail
        self.events.append({"ph": "i", "s": "t", "ts": self.nanoseconds(record.tsc) / 1000, "pid": track[0],
                            "tid": track[1], "name": record.name, "cat": "event", "args": args})

    def exit(self, track, done):
        record = done.record
        args = {"rip": f"0x{record.rip:x}", "action": rec.action_words(record), "ticks": done.end - done.start,
                "tsc": record.tsc}
        if not done.whole:
            args["note"] = "its end is not on record"
        detail = rec.detail_words(record)
        if detail:
            args["detail"] = detail
        self.span(track, done, record.name, "exit" if record.is_exit else "enter", args)

    def arrow(self, before, after):
        """From the end of a vCPU's time on one CPU to its next on another."""
        selection = self.selection
        inside = selection.start <= before.start and after.start <= selection.end
        shown = inside and selection.has_cpu(before.cpu) and selection.has_cpu(after.cpu)
        if before.cpu == after.cpu or not shown:
            return
        self.flows += 1
        begin = max(self.nanoseconds(before.start), self.nanoseconds(before.end) - 1)
        end = max(begin, self.nanoseconds(after.start))
        for phase, cpu, at in (("s", before.cpu, begin), ("f", after.cpu, end)):
            event = {"ph": phase, "id": self.flows, "ts": at / 1000, "pid": CPUS_PID, "tid": CPU_TID + cpu,
                     "name": "migration", "cat": "migration"}
            if phase == "f":
                event["bp"] = "e"
            self.events.append(event)

    def cpu(self, cpu):
        track = (CPUS_PID, CPU_TID + cpu)
        self.thread(*track, f"CPU {cpu}", cpu)
        for run in self.model.runs[cpu]:
            if not self.selection.has_vcpu(run.vcpu):
                continue
            args = {"vcpu": self.trace.vcpu_name(run.vcpu), "exits": len(run.exits)}
            if run.why is not None:
                args["left"] = rec.listed(rec.LEAVE_NAMES, run.why)
            self.span(track, run, self.trace.vcpu_name(run.vcpu), "run", args)
            for done in run.enters + run.exits:
                self.exit(track, done)
        for sleep in self.model.sleeps[cpu]:
            self.span(track, sleep, "asleep", "sleep", colour="thread_state_sleeping")
        for work in filter(self.selection.has_work, self.model.works[cpu]):
            self.span(track, work, f"{trace_model.work_words(work)} VM {self.trace.vm_name(work.vm)}", "vm",
                      colour="terrible")
        if self.model.blank[cpu]:
            self.span(track, self.model.blank[cpu], "records lost", "lost")

    def vcpu(self, vcpu):
        track = (VM_PID + (vcpu >> 4), VCPU_TID + vcpu)
        self.thread(*track, f"vCPU {vcpu & 15}", vcpu & 15)
        for state in self.model.states[vcpu]:
            if state.cpu is None or self.selection.has_cpu(state.cpu):
                name = state.name if state.cpu is None else f"running on CPU {state.cpu}"
                self.span(track, state, name, "state", colour=STATE_COLOURS[state.name])
        runs = self.model.vcpu_runs[vcpu]
        for run in runs:
            if self.selection.has_cpu(run.cpu):
                for done in run.enters + run.exits:
                    self.exit(track, done)
        for before, after in zip(runs, runs[1:]):
            self.arrow(before, after)

    def instants(self):
        for record in self.model.records:
            if record.cause not in INSTANTS or not self.selection.has(record):
                continue
            self.instant((CPUS_PID, CPU_TID + record.cpu), record)
            if record.vcpu and record.cause != rec.KICK:
                self.instant((VM_PID + record.vm, VCPU_TID + record.vcpu), record)

    def build(self):
        trace, selection = self.trace, self.selection
        self.process(CPUS_PID, "CPUs", 0)
        for cpu in range(trace.cpus):
            if selection.has_cpu(cpu):
                self.cpu(cpu)
        for vm in sorted({vcpu >> 4 for vcpu in self.model.vcpus if selection.has_vcpu(vcpu)}):
            self.process(VM_PID + vm, f"VM {trace.vm_name(vm)}", vm)
        for vcpu in filter(selection.has_vcpu, self.model.vcpus):
            self.vcpu(vcpu)
        self.instants()
        # Outer spans before those within them.
        self.events.sort(key=lambda event: (event["ts"], -event.get("dur", 0)))
        return {
            "traceEvents": self.metadata + self.events,
            "displayTimeUnit": "ns",
            "otherData": {"source": "Rootlet's flight recorder", "tsc_hz": str(trace.tsc_hz),
                          "first_tsc": str(self.model.start), "warnings": "; ".join(trace.warnings)},
        }


def text(model, selection):
    """The JSON file's text, one event on a line."""
    document = Writer(model, selection).build()
    events = document.pop("traceEvents")
    lines = ",\n".join(json.dumps(event, separators=(",", ":")) for event in events)
    rest = json.dumps(document, separators=(",", ":"))[1:]
    return f'{{"traceEvents":[\n{lines}\n],{rest}\n'
