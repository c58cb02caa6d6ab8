/* SPDX-License-Identifier: BSD-2-Clause */
/* A trace as the tables of tools/trace_summary.py: what exits cost, what each CPU and each vCPU did with its time. */
"use strict";

/* The least value that `percent` of all do not exceed (nearest rank). */
function rank(ordered, percent) {
  return ordered[Math.max(0, Math.ceil((ordered.length * percent) / 100) - 1)];
}

function total(numbers) {
  return numbers.reduce((sum, number) => sum + number, 0);
}

function share(part, whole) {
  return whole ? `${((100 * part) / whole).toFixed(1)} %` : "-";
}

function costRow(name, exits) {
  const ticks = exits.filter((done) => done.whole).map((done) => done.record.ticks).sort((one, other) => one - other);
  const values = ticks.length ? ticks : [0];
  return [name, exits.length, rank(values, 50), rank(values, 99), values[values.length - 1], total(values)];
}

/* Exits whose end is not on record are counted only. The most expensive cause in total comes first. */
function costTable(title, exits) {
  const causes = new Map();
  for (const done of exits) {
    const name = done.record.name;
    if (!causes.has(name)) {
      causes.set(name, []);
    }
    causes.get(name).push(done);
  }
  const rows = [...causes].map(([name, mine]) => costRow(name, mine));
  rows.sort((one, other) => other[5] - one[5] || (one[0] < other[0] ? -1 : 1));
  const all = total(rows.map((row) => row[5]));
  if (rows.length > 1) {
    rows.push(costRow("all", exits));
  }
  return {
    title, head: ["cause", "count", "median ticks", "99 % ticks", "maximum ticks", "total ticks", "share"],
    rows: rows.map((row) => [...row, share(row[5], all)]),
  };
}

/* The record's entry delivers an interrupt, or its event goes in with the next one. */
function delivers(record) {
  return record.cause === EVENT.inject || (record.action >= FORMAT.first_vector && record.isPassage);
}

/* A VM entry follows. */
function enters(record) {
  return record.isPassage && record.action !== ACTION.stop && record.action !== ACTION.left;
}

function timeIn(selection, spans) {
  return total(spans.map((span) => selection.clip(span)).filter(Boolean).map((span) => span.end - span.start));
}

/* Where each CPU's time went while all its records are there. */
function cpuTable(model, selection) {
  const rows = model.cpus.map((cpu) => {
    const part = new Selection(Math.max(selection.start, cpu.knownFrom), selection.end, selection.vm);
    const runs = cpu.runs.filter((run) => part.hasVcpu(run.vcpu));
    const guest = timeIn(part, runs.flatMap((run) => run.guest));
    const exits = timeIn(part, runs.flatMap((run) => run.exits));
    const works = timeIn(part, cpu.works.filter((work) => part.hasWork(work)));
    const asleep = timeIn(part, cpu.sleeps);
    const whole = Math.max(0, part.end - part.start);
    const records = model.records.filter((record) => record.cpu === cpu.cpu && part.has(record));
    return [`CPU ${cpu.cpu}`, whole, share(guest, whole), share(exits, whole), share(works, whole),
      share(whole - guest - exits - works - asleep, whole), share(asleep, whole), records.filter(enters).length,
      records.filter(delivers).length];
  });
  return {
    title: "CPUs",
    head: ["CPU", "recorded ticks", "guest", "exits", "VMs", "other", "asleep", "entries", "deliveries"], rows,
  };
}

function vcpuTable(model, selection) {
  const rows = model.vcpus.filter((vcpu) => selection.hasVcpu(vcpu)).map((vcpu) => {
    const spent = { running: 0, ready: 0, blocked: 0, away: 0 };
    for (const state of model.states.get(vcpu)) {
      spent[state.name] += timeIn(selection, [state]);
    }
    const runs = model.vcpuRuns.get(vcpu).filter((run) => selection.clip(run));
    const inside = (dones) => dones.map((done) => done.record).filter((record) => selection.has(record));
    const exits = inside(runs.flatMap((run) => run.exits));
    const others = [...model.marks.get(vcpu).filter((mark) => selection.has(mark)),
      ...inside(runs.flatMap((run) => run.enters))];
    const moves = runs.filter((run, index) => index && runs[index - 1].cpu !== run.cpu).length;
    return [model.trace.vcpuName(vcpu), spent.running, spent.ready, spent.blocked, exits.length,
      [...exits, ...others].filter(delivers).length, moves];
  });
  return {
    title: "vCPUs",
    head: ["vCPU", "running ticks", "ready ticks", "blocked ticks", "exits", "deliveries", "migrations"], rows,
  };
}

function traceTables(model, selection) {
  return [costTable("exits by cause", model.exits(selection)), cpuTable(model, selection),
    vcpuTable(model, selection)];
}
