# SPDX-License-Identifier: BSD-2-Clause
"""What the records of a trace mean in time: who ran where and when, what each vCPU waited for, which CPU slept.

All times are ticks of the host's TSC. Spans never have a negative length, and those of one CPU or vCPU do not overlap.
"""
import collections
import dataclasses

import trace_record as rec

RUNNING, READY, BLOCKED, AWAY = "running", "ready", "blocked", "away"
STATE_AFTER = {0: READY, 1: BLOCKED, 2: None}  # by the detail of leave; no leave on record: AWAY

Span = collections.namedtuple("Span", "start end")
# whole: its end is on record; inner: the inner guest of a guest hypervisor has left, not the guest itself
Exit = collections.namedtuple("Exit", "start end record whole inner", defaults=(False,))
State = collections.namedtuple("State", "start end name cpu")
Work = collections.namedtuple("Work", "start end cause vm")  # a CPU creates or ends a VM: VM_CREATE or VM_END


@dataclasses.dataclass
class Run:
    """A vCPU has a CPU, from enter to leave; why: the detail of leave, None if that is not on record."""

    cpu: int
    vcpu: int
    start: int
    end: int
    why: int = None
    exits: list = dataclasses.field(default_factory=list)
    enters: list = dataclasses.field(default_factory=list)  # as exits: from having the CPU to the VM entry
    guest: list = dataclasses.field(default_factory=list)  # spans between an entry and the next exit
    inner: list = dataclasses.field(default_factory=list)  # those of them that were an inner guest's


@dataclasses.dataclass
class Selection:
    """A part of the trace: times in ticks, numbers of VMs and of CPUs; None: all of them."""

    start: int
    end: int
    vms: set = None
    cpus: set = None

    def has_vcpu(self, vcpu):
        return self.vms is None or vcpu >> 4 in self.vms

    def has_cpu(self, cpu):
        return self.cpus is None or cpu in self.cpus

    def has_work(self, work):
        return self.vms is None or work.vm in self.vms

    def has(self, record):
        """With vms=, the records that are about no VM (a CPU sleeps) are left out."""
        return self.start <= record.tsc <= self.end and self.has_vcpu(record.vcpu) and self.has_cpu(record.cpu)

    def clip(self, start, end):
        """The part of the span in this time, or None. A span without length stays if it lies within."""
        start, end = max(start, self.start), min(end, self.end)
        return Span(start, end) if start <= end else None


def work_words(work):
    return "creates" if work.cause == rec.VM_CREATE else "ends"


class CpuPass:
    """Goes through one CPU's records in order and collects its runs and sleeps, and its work on VMs as wholes."""

    def __init__(self, cpu, known_from, until):
        self.cpu, self.known_from, self.until = cpu, known_from, until
        self.runs, self.sleeps, self.run, self.kept, self.asleep_since = [], [], None, [], None
        self.slept = False
        self.works, self.work = [], None

    def begin_work(self, record):
        self.close(record.tsc, None)
        self.end_work(record.tsc)
        self.work = record

    def end_work(self, tsc):
        if self.work is not None:
            self.works.append(Work(self.work.tsc, tsc, self.work.cause, self.work.detail))
        self.work = None

    def open(self, record):
        """The record belongs to the run that is open, or begins a new one."""
        if self.run is None or self.run.vcpu != record.vcpu or record.cause == rec.ENTER:
            self.close(record.tsc, None)
            self.run, self.kept = Run(self.cpu, record.vcpu, record.tsc, record.tsc), []
        self.kept.append(record)

    def close(self, tsc, why):
        """The vCPU leaves the CPU; why None: that was not recorded."""
        if self.run is None:
            return
        run, records, self.run = self.run, self.kept, None
        last = records[-1]
        if last.action in (rec.LEFT, rec.STOP):
            tsc = min(tsc, last.tsc + last.ticks)
        run.end, run.why = max(tsc, run.start), why
        inner = False
        for record, latest in zip(records, [record.tsc for record in records[1:]] + [run.end]):
            end = record.tsc + record.ticks
            # A record that was being written when the machine stopped has no end yet.
            whole = end <= latest
            kept = Exit(record.tsc, max(record.tsc, min(end, latest)), record, whole, inner)
            (run.exits if record.is_exit else run.enters).append(kept)
            inner = record.action == rec.TO_INNER or (inner and record.action != rec.TO_HYPERVISOR)
            if record.action not in (rec.LEFT, rec.STOP) and latest > kept.end:
                run.guest.append(Span(kept.end, latest))
                if inner:
                    run.inner.append(run.guest[-1])
        self.runs.append(run)

    def leave(self, record):
        if self.run is not None and self.run.vcpu == record.vcpu:
            self.close(record.tsc, record.detail)
        elif self.runs and self.runs[-1].vcpu == record.vcpu and self.runs[-1].why is None:
            self.runs[-1].why = record.detail  # the next enter has the same time, and its ring comes first

    def wake(self, tsc):
        if self.asleep_since is None and not self.slept:  # when it fell asleep is lost
            self.asleep_since = max(self.known_from, self.runs[-1].end if self.runs else 0)
        if self.asleep_since is not None and self.asleep_since < tsc:
            self.sleeps.append(Span(self.asleep_since, tsc))
        self.asleep_since, self.slept = None, True

    def take(self, record):
        if record.is_exit or record.cause == rec.ENTER:
            self.end_work(record.tsc)  # that it was done is lost
            self.open(record)
        elif record.cause in (rec.VM_CREATE, rec.VM_END):
            self.begin_work(record)
        elif record.cause == rec.VM_DONE:
            self.end_work(record.tsc)
        elif record.cause == rec.LEAVE:
            self.leave(record)
        elif record.cause == rec.SLEEP:
            self.close(record.tsc, None)
            self.end_work(record.tsc)
            self.asleep_since, self.slept = record.tsc, True
        elif record.cause == rec.AWAKE:
            self.wake(record.tsc)

    def finish(self):
        self.close(self.until, None)
        self.end_work(self.until)
        if self.asleep_since is not None:
            self.wake(self.until)


class Model:
    """start, end; for each CPU: runs, sleeps, works, blank (the time of which nothing is left, or None), known_from
    (all that came later is on record); for each vCPU: runs, states."""

    def __init__(self, trace):
        self.trace = trace
        self.records = trace.records()
        self.start = self.records[0].tsc
        left = [r.tsc + r.ticks for r in self.records if r.action in (rec.LEFT, rec.STOP) and r.ticks < trace.tsc_hz]
        self.end = max(left + [self.records[-1].tsc])
        self.runs, self.sleeps, self.works, self.blank, self.known_from = {}, {}, {}, {}, {}
        for cpu in range(trace.cpus):
            self.read_cpu(cpu)
        self.vcpus = sorted({vm << 4 | index for vm, (_, cpus) in trace.vms.items() for index in range(cpus)}
                            | {run.vcpu for runs in self.runs.values() for run in runs})
        self.vcpu_runs = {vcpu: [] for vcpu in self.vcpus}
        for run in sorted((run for runs in self.runs.values() for run in runs), key=lambda run: run.start):
            self.vcpu_runs[run.vcpu].append(run)
        self.marks = collections.defaultdict(list)
        for record in self.records:
            if not record.is_exit and record.cause != rec.ENTER and record.vcpu:
                self.marks[record.vcpu].append(record)
        self.stops = {r.vm: r for r in self.records if r.cause == rec.VM_STOP}
        self.states = {vcpu: self.states_of(vcpu) for vcpu in self.vcpus}

    def read_cpu(self, cpu):
        rings = [ring for ring in self.trace.rings if ring.cpu == cpu]
        known_from = max([self.start] + [ring.records[0].tsc for ring in rings if ring.lost and ring.records])
        pass_over = CpuPass(cpu, known_from, self.end)
        for record in sorted((r for ring in rings for r in ring.records), key=lambda r: r.tsc):
            pass_over.take(record)
        pass_over.finish()
        self.runs[cpu], self.sleeps[cpu], self.works[cpu] = pass_over.runs, pass_over.sleeps, pass_over.works
        self.known_from[cpu] = known_from
        first = min((ring.records[0].tsc for ring in rings if ring.records), default=self.end)
        self.blank[cpu] = Span(self.start, first) if first > self.start and any(ring.lost for ring in rings) else None

    @property
    def all_known_from(self):
        """From here on no record of any CPU is lost."""
        return max(self.known_from.values())

    def exits(self, selection):
        """Those that began in it."""
        return [e for cpu, runs in self.runs.items() for run in runs for e in run.exits if selection.has(e.record)]

    def last_of(self, vcpu):
        """The end of the VM, or of the trace."""
        stop = self.stops.get(vcpu >> 4)
        return stop.tsc if stop else self.end

    def waits(self, vcpu, start, end, state):
        """What the vCPU did between two runs: ready, or blocked until it was woken and then ready."""
        if end <= start or state is None:
            return
        if state == BLOCKED:
            woken = next((r.tsc for r in self.marks[vcpu] if r.cause == rec.WAKE and start <= r.tsc <= end), end)
            if woken > start:
                yield State(start, woken, BLOCKED, None)
            start, state = woken, READY
        if end > start:
            yield State(start, end, state, None)

    def before_first_run(self, vcpu, until):
        """A vCPU is first queued by its VM's start, or by what another vCPU does."""
        causes = (rec.WAKE, rec.SIPI) if vcpu & 15 else (rec.VM_START, rec.WAKE)
        queued = [r.tsc for r in self.marks[vcpu] if r.cause in causes and r.tsc <= until]
        if queued and until > queued[0]:
            yield State(queued[0], until, READY, None)

    def states_of(self, vcpu):
        states, at, state = [], None, None
        for run in self.vcpu_runs[vcpu]:
            start = run.start if at is None else max(run.start, at)
            if at is None:
                states += self.before_first_run(vcpu, start)
            else:
                states += self.waits(vcpu, at, start, state)
            at = max(run.end, start)
            states.append(State(start, at, RUNNING, run.cpu))
            state = STATE_AFTER.get(run.why, AWAY)
        if at is None:
            states += self.before_first_run(vcpu, self.last_of(vcpu))
        else:
            states += self.waits(vcpu, at, self.last_of(vcpu), state)
        return states
