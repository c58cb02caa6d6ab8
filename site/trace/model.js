/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the records of a trace mean in time, as tools/trace_model.py says it: who ran where and when, what each vCPU
 * waited for, which CPU slept. All times are ticks since the trace's first record.
 */
"use strict";

const STATE_AFTER = { 0: "ready", 1: "blocked" }; // by the detail of leave

/* A part of the trace; vm null: all VMs. */
class Selection {
  constructor(start, end, vm = null) {
    this.start = start;
    this.end = end;
    this.vm = vm;
  }

  hasVcpu(vcpu) {
    return this.vm === null || vcpu >> 4 === this.vm;
  }

  hasWork(work) {
    return this.vm === null || work.vm === this.vm;
  }

  has(record) {
    return this.start <= record.at && record.at <= this.end && this.hasVcpu(record.vcpu);
  }

  /* The part of the span in this time, or null. A span without length stays if it lies within. */
  clip(span) {
    const start = Math.max(span.start, this.start), end = Math.min(span.end, this.end);
    return start <= end ? { start, end } : null;
  }
}

/* Goes through one CPU's records in order and collects its runs and sleeps, and its work on VMs as wholes. */
class CpuPass {
  constructor(cpu, knownFrom, until) {
    Object.assign(this, { cpu, knownFrom, until });
    this.runs = [];
    this.sleeps = [];
    this.run = null;
    this.kept = [];
    this.asleepSince = null;
    this.slept = false;
    this.works = [];
    this.work = null;
  }

  beginWork(record) {
    this.close(record.at, null);
    this.endWork(record.at);
    this.work = record;
  }

  endWork(at) {
    if (this.work) {
      this.works.push({ start: this.work.at, end: at, cause: this.work.cause, vm: Number(this.work.detail) });
    }
    this.work = null;
  }

  open(record) {
    if (!this.run || this.run.vcpu !== record.vcpu || record.cause === EVENT.enter) {
      this.close(record.at, null);
      this.run = { cpu: this.cpu, vcpu: record.vcpu, start: record.at, end: record.at, why: null, exits: [], enters: [],
        guest: [] };
      this.kept = [];
    }
    this.kept.push(record);
  }

  /* The vCPU leaves the CPU; why null: that was not recorded. */
  close(at, why) {
    if (!this.run) {
      return;
    }
    const { run, kept } = this;
    this.run = null;
    const left = (record) => record.action === ACTION.left || record.action === ACTION.stop;
    const last = kept[kept.length - 1];
    run.end = Math.max(left(last) ? Math.min(at, last.at + last.ticks) : at, run.start);
    run.why = why;
    kept.forEach((record, index) => {
      const latest = index + 1 < kept.length ? kept[index + 1].at : run.end;
      const end = record.at + record.ticks;
      /* A record that was being written when the machine stopped has no end yet: it is not whole. */
      const done = { start: record.at, end: Math.max(record.at, Math.min(end, latest)), record, whole: end <= latest };
      (record.isExit ? run.exits : run.enters).push(done);
      if (!left(record) && latest > done.end) {
        run.guest.push({ start: done.end, end: latest });
      }
    });
    this.runs.push(run);
  }

  leave(record) {
    const before = this.runs[this.runs.length - 1];
    if (this.run && this.run.vcpu === record.vcpu) {
      this.close(record.at, Number(record.detail));
    } else if (before && before.vcpu === record.vcpu && before.why === null) {
      before.why = Number(record.detail); // the next enter has the same time, and its ring comes first
    }
  }

  wake(at) {
    if (this.asleepSince === null && !this.slept) { // when it fell asleep is lost
      this.asleepSince = Math.max(this.knownFrom, this.runs.length ? this.runs[this.runs.length - 1].end : 0);
    }
    if (this.asleepSince !== null && this.asleepSince < at) {
      this.sleeps.push({ start: this.asleepSince, end: at });
    }
    this.asleepSince = null;
    this.slept = true;
  }

  take(record) {
    if (record.isPassage) {
      this.endWork(record.at); // that it was done is lost
      this.open(record);
    } else if (record.cause === EVENT["vm-create"] || record.cause === EVENT["vm-end"]) {
      this.beginWork(record);
    } else if (record.cause === EVENT["vm-done"]) {
      this.endWork(record.at);
    } else if (record.cause === EVENT.leave) {
      this.leave(record);
    } else if (record.cause === EVENT.sleep) {
      this.close(record.at, null);
      this.endWork(record.at);
      this.asleepSince = record.at;
      this.slept = true;
    } else if (record.cause === EVENT.awake) {
      this.wake(record.at);
    }
  }

  finish() {
    this.close(this.until, null);
    this.endWork(this.until);
    if (this.asleepSince !== null) {
      this.wake(this.until);
    }
  }
}

function workWords(work) {
  return work.cause === EVENT["vm-create"] ? "creates" : "ends";
}

function byTime(records) {
  return records.sort((one, other) => one.at - other.at);
}

/* records; end; for each CPU: runs, sleeps, works, blank, knownFrom; for each vCPU: runs, states, marks. */
class Model {
  constructor(trace) {
    this.trace = trace;
    const all = trace.rings.flatMap((ring) => ring.records);
    const first = all.reduce((least, record) => (record.tsc < least ? record.tsc : least), all[0].tsc);
    this.firstTsc = first;
    for (const record of all) {
      record.at = Number(record.tsc - first);
    }
    this.records = byTime(all);
    const leaves = this.records.filter((record) => [ACTION.left, ACTION.stop].includes(record.action)
      && record.ticks < trace.tscHz);
    this.end = leaves.reduce((end, record) => Math.max(end, record.at + record.ticks),
      this.records[this.records.length - 1].at);
    this.cpus = [];
    for (let cpu = 0; cpu < trace.cpus; cpu++) {
      this.cpus.push(this.readCpu(cpu));
    }
    const vcpus = new Set(this.cpus.flatMap((cpu) => cpu.runs.map((run) => run.vcpu)));
    for (const [vm, { cpus }] of trace.vms) {
      for (let index = 0; index < cpus; index++) {
        vcpus.add((vm << 4) | index);
      }
    }
    this.vcpus = [...vcpus].sort((one, other) => one - other);
    this.vcpuRuns = new Map(this.vcpus.map((vcpu) => [vcpu, []]));
    const runs = this.cpus.flatMap((cpu) => cpu.runs).sort((one, other) => one.start - other.start);
    runs.forEach((run) => this.vcpuRuns.get(run.vcpu).push(run));
    this.marks = new Map(this.vcpus.map((vcpu) => [vcpu, []]));
    this.stops = new Map();
    for (const record of this.records) {
      if (!record.isPassage && record.vcpu) {
        this.marks.get(record.vcpu)?.push(record);
      }
      if (record.cause === EVENT["vm-stop"]) {
        this.stops.set(record.vm, record);
      }
    }
    this.states = new Map(this.vcpus.map((vcpu) => [vcpu, this.statesOf(vcpu)]));
  }

  readCpu(cpu) {
    const rings = this.trace.rings.filter((ring) => ring.cpu === cpu);
    const knownFrom = Math.max(0, ...rings.filter((ring) => ring.lost && ring.records.length)
      .map((ring) => ring.records[0].at));
    const pass = new CpuPass(cpu, knownFrom, this.end);
    byTime(rings.flatMap((ring) => ring.records)).forEach((record) => pass.take(record));
    pass.finish();
    const firsts = rings.filter((ring) => ring.records.length).map((ring) => ring.records[0].at);
    const first = firsts.length ? Math.min(...firsts) : this.end;
    const blank = first > 0 && rings.some((ring) => ring.lost) ? { start: 0, end: first } : null;
    return { cpu, runs: pass.runs, sleeps: pass.sleeps, works: pass.works, knownFrom, blank };
  }

  /* From here on no record of any CPU is lost. */
  get allKnownFrom() {
    return Math.max(...this.cpus.map((cpu) => cpu.knownFrom));
  }

  /* The exits that began in the selection. */
  exits(selection) {
    return this.cpus.flatMap((cpu) => cpu.runs).flatMap((run) => run.exits)
      .filter((done) => selection.has(done.record));
  }

  /* What the vCPU did between two runs: ready, or blocked until it was woken and then ready. */
  waits(vcpu, start, end, state) {
    if (end <= start || !state) {
      return [];
    }
    const found = [];
    if (state === "blocked") {
      const wake = this.marks.get(vcpu).find((mark) => mark.cause === EVENT.wake && start <= mark.at && mark.at <= end);
      const woken = wake ? wake.at : end;
      if (woken > start) {
        found.push({ start, end: woken, name: "blocked", cpu: null });
      }
      start = woken;
      state = "ready";
    }
    if (end > start) {
      found.push({ start, end, name: state, cpu: null });
    }
    return found;
  }

  /* A vCPU is first queued by its VM's start, or by what another vCPU does. */
  beforeFirstRun(vcpu, until) {
    const causes = vcpu & 15 ? [EVENT.wake, EVENT.sipi] : [EVENT["vm-start"], EVENT.wake];
    const queued = this.marks.get(vcpu).find((mark) => causes.includes(mark.cause) && mark.at <= until);
    return queued && until > queued.at ? [{ start: queued.at, end: until, name: "ready", cpu: null }] : [];
  }

  statesOf(vcpu) {
    const states = [];
    let at = null, state = null;
    for (const run of this.vcpuRuns.get(vcpu)) {
      const start = at === null ? run.start : Math.max(run.start, at);
      states.push(...(at === null ? this.beforeFirstRun(vcpu, start) : this.waits(vcpu, at, start, state)));
      at = Math.max(run.end, start);
      states.push({ start, end: at, name: "running", cpu: run.cpu });
      state = run.why === null || run.why > 2 ? "away" : STATE_AFTER[run.why];
    }
    const last = this.stops.has(vcpu >> 4) ? this.stops.get(vcpu >> 4).at : this.end;
    states.push(...(at === null ? this.beforeFirstRun(vcpu, last) : this.waits(vcpu, at, last, state)));
    return states;
  }
}
