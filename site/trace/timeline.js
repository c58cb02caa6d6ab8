/* SPDX-License-Identifier: BSD-2-Clause */
/* A trace as Trace Event Format JSON for ui.perfetto.dev, with the tracks and names of tools/trace_json.py. */
"use strict";

const CPUS_PID = 1, VM_PID = 1000, CPU_TID = 10, VCPU_TID = 2000;

class TimelineWriter {
  constructor(model) {
    this.model = model;
    this.trace = model.trace;
    this.events = [];
    this.metadata = [];
    this.flows = 0;
  }

  nanoseconds(at) {
    return Math.round((at * 1e9) / this.trace.tscHz);
  }

  named(what, pid, tid, name, order) {
    this.metadata.push({ ph: "M", ts: 0, pid, tid, name: `${what}_name`, args: { name } });
    this.metadata.push({ ph: "M", ts: 0, pid, tid, name: `${what}_sort_index`, args: { sort_index: order } });
  }

  span([pid, tid], span, name, cat, args) {
    const start = this.nanoseconds(span.start), end = this.nanoseconds(span.end);
    const event = { ph: "X", ts: start / 1000, dur: (end - start) / 1000, pid, tid, name, cat };
    this.events.push(args ? { ...event, args } : event);
  }

  exit(track, done) {
    const { record } = done;
    const args = { rip: `0x${hex(record.rip)}`, action: actionWords(record), ticks: done.end - done.start,
      tsc: Number(record.tsc) };
    const detail = detailWords(record);
    this.span(track, done, record.name, record.isExit ? "exit" : "enter",
      { ...args, ...(done.whole ? {} : { note: "its end is not on record" }), ...(detail ? { detail } : {}) });
  }

  instant([pid, tid], record) {
    const detail = detailWords(record);
    const args = { tsc: Number(record.tsc), cpu: record.cpu,
      ...(record.vcpu ? { vcpu: this.trace.vcpuName(record.vcpu) } : {}), ...(detail ? { detail } : {}) };
    this.events.push({ ph: "i", s: "t", ts: this.nanoseconds(record.at) / 1000, pid, tid, name: record.name,
      cat: "event", args });
  }

  /* From the end of a vCPU's time on one CPU to its next on another. */
  arrow(before, after) {
    this.flows++;
    const begin = Math.max(this.nanoseconds(before.start), this.nanoseconds(before.end) - 1);
    const end = Math.max(begin, this.nanoseconds(after.start));
    for (const [ph, cpu, at] of [["s", before.cpu, begin], ["f", after.cpu, end]]) {
      this.events.push({ ph, id: this.flows, ts: at / 1000, pid: CPUS_PID, tid: CPU_TID + cpu, name: "migration",
        cat: "migration", ...(ph === "f" ? { bp: "e" } : {}) });
    }
  }

  cpu(cpu) {
    const track = [CPUS_PID, CPU_TID + cpu.cpu];
    this.named("thread", ...track, `CPU ${cpu.cpu}`, cpu.cpu);
    for (const run of cpu.runs) {
      const name = this.trace.vcpuName(run.vcpu);
      this.span(track, run, name, "run", { vcpu: name, exits: run.exits.length,
        ...(run.why === null ? {} : { left: listed(FORMAT.leave_names, run.why) }) });
      [...run.enters, ...run.exits].forEach((done) => this.exit(track, done));
    }
    cpu.sleeps.forEach((sleep) => this.span(track, sleep, "asleep", "sleep"));
    cpu.works.forEach((work) => this.span(track, work, `${workWords(work)} VM ${this.trace.vmName(work.vm)}`, "vm"));
    if (cpu.blank) {
      this.span(track, cpu.blank, "records lost", "lost");
    }
  }

  vcpu(vcpu) {
    const track = [VM_PID + (vcpu >> 4), VCPU_TID + vcpu];
    this.named("thread", ...track, `vCPU ${vcpu & 15}`, vcpu & 15);
    for (const state of this.model.states.get(vcpu)) {
      this.span(track, state, state.cpu === null ? state.name : `running on CPU ${state.cpu}`, "state");
    }
    const runs = this.model.vcpuRuns.get(vcpu);
    runs.forEach((run, index) => {
      [...run.enters, ...run.exits].forEach((done) => this.exit(track, done));
      if (index && runs[index - 1].cpu !== run.cpu) {
        this.arrow(runs[index - 1], run);
      }
    });
  }

  text() {
    this.named("process", CPUS_PID, 0, "CPUs", 0);
    this.model.cpus.forEach((cpu) => this.cpu(cpu));
    for (const vm of [...new Set(this.model.vcpus.map((vcpu) => vcpu >> 4))]) {
      this.named("process", VM_PID + vm, 0, `VM ${this.trace.vmName(vm)}`, vm);
    }
    this.model.vcpus.forEach((vcpu) => this.vcpu(vcpu));
    for (const record of this.model.records.filter((one) => PALETTE.instants.includes(one.cause))) {
      this.instant([CPUS_PID, CPU_TID + record.cpu], record);
      if (record.vcpu && record.cause !== EVENT.kick) {
        this.instant([VM_PID + record.vm, VCPU_TID + record.vcpu], record);
      }
    }
    /* Outer spans before those within them. */
    this.events.sort((one, other) => one.ts - other.ts || (other.dur ?? 0) - (one.dur ?? 0));
    const events = [...this.metadata, ...this.events].map((event) => JSON.stringify(event)).join(",\n");
    const about = { source: "Rootlet's flight recorder", tsc_hz: String(this.trace.tscHz),
      first_tsc: String(this.model.firstTsc), warnings: this.trace.warnings.join("; ") };
    return `{"traceEvents":[\n${events}\n],"displayTimeUnit":"ns","otherData":${JSON.stringify(about)}}\n`;
  }
}
