/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The flight recorder's records, as tools/trace_record.py reads them: from a serial console's text to values and words.
 * The layout, the names and which cause has which detail come from there: FORMAT is its description().
 */
"use strict";

/* What is wrong with the input, in one line. */
class TraceError extends Error {}

const EVENT = {};
for (const [number, name] of Object.entries(FORMAT.event_names)) {
  EVENT[name] = Number(number);
}
const ACTION = {};
for (const [number, name] of Object.entries(FORMAT.action_names)) {
  ACTION[name] = Number(number);
}
const LOW32 = 0xffffffffn;

/* One record with the CPU that wrote it. tsc, rip and detail are BigInts; at: ticks since the trace's first record. */
class TraceRecord {
  constructor(values, cpu) {
    Object.assign(this, values);
    this.cpu = cpu;
    this.at = 0;
    /* From the exit to the entry that followed: both are halves of the same counter. */
    this.ticks = Number((BigInt(this.entry_tsc) - this.tsc) & LOW32);
  }

  get isExit() {
    return this.cause < FORMAT.first_event;
  }

  /* It ends in a VM entry, or in leaving the guest. */
  get isPassage() {
    return this.isExit || this.cause === EVENT.enter;
  }

  get vm() {
    return this.vcpu >> 4;
  }

  get name() {
    if (this.isExit) {
      return FORMAT.exit_names[this.cause] ?? `exit-${this.cause}`;
    }
    return FORMAT.event_names[this.cause] ?? `event-${this.cause}`;
  }
}

class Trace {
  constructor(tscHz, cpus) {
    this.tscHz = tscHz;
    this.cpus = cpus;
    this.vms = new Map();
    this.rings = [];
    this.warnings = [];
  }

  vmName(vm) {
    return this.vms.has(vm) ? this.vms.get(vm).name : `vm${vm}`;
  }

  /* The VM's name; with the index if the VM has several vCPUs. */
  vcpuName(vcpu) {
    const vm = this.vms.get(vcpu >> 4);
    return vm && vm.cpus === 1 ? vm.name : `${this.vmName(vcpu >> 4)}/${vcpu & 15}`;
  }
}

/* ---- Words for a record ---- */

function hex(value, digits = 1) {
  return value.toString(16).padStart(digits, "0");
}

function listed(names, number) {
  return names[Number(number)] ?? String(number);
}

function bits(value, shift, mask) {
  return Number((value >> BigInt(shift)) & BigInt(mask));
}

/* SDM 3C 24.9.2 "Information for VM Exits Due to Vectored Events" */
function eventWords(info) {
  if (!bits(info, 31, 1)) {
    return "none";
  }
  const vector = bits(info, 0, 255), kind = bits(info, 8, 7);
  if ([3, 5, 6].includes(kind) && vector < FORMAT.vector_names.length) {
    return FORMAT.vector_names[vector];
  }
  return kind === 2 ? "NMI" : `${FORMAT.event_types[kind]} 0x${hex(vector, 2)}`;
}

/* SDM 3C 27.2.1, table "Exit Qualification for Control-Register Accesses" */
function crWords(qualification) {
  const access = FORMAT.cr_access_types[bits(qualification, 4, 3)];
  if (access.startsWith("mov")) {
    return `${access} cr${bits(qualification, 0, 15)}, ${FORMAT.gpr_names[bits(qualification, 8, 15)]}`;
  }
  return access === "clts" ? access : `lmsw 0x${hex(bits(qualification, 16, 0xffff), 4)}`;
}

function drWords(qualification) {
  const direction = bits(qualification, 4, 1) ? "from" : "to";
  return `mov ${direction} dr${bits(qualification, 0, 7)}, ${FORMAT.gpr_names[bits(qualification, 8, 15)]}`;
}

/* SDM 3C 27.2.1, table "Exit Qualification for I/O Instructions" */
function ioWords(qualification) {
  const word = (bits(qualification, 5, 1) ? "rep " : "") + (bits(qualification, 3, 1) ? "in" : "out");
  const string = bits(qualification, 4, 1) ? "s" : "";
  return `${word}${string} port 0x${hex(bits(qualification, 16, 0xffff), 4)}, ${bits(qualification, 0, 7) + 1} bytes`;
}

/* By the names of FORMS in tools/trace_record.py. */
const FORMS = {
  event: eventWords,
  hypercall: (number) => FORMAT.hypercalls[Number(number & LOW32)] ?? `hypercall 0x${hex(number & LOW32)}`,
  cr: crWords,
  dr: drWords,
  io: ioWords,
  "apic-access": (qualification) => (FORMAT.apic_access_types[bits(qualification, 12, 15)] ?? "access")
    + ` offset 0x${hex(bits(qualification, 0, 0xfff), 3)}`,
  leaf: (leaf) => `leaf 0x${hex(leaf & LOW32)}`,
  msr: (index) => `msr 0x${hex(index & LOW32)}`,
  qualification: (qualification) => `qualification 0x${hex(qualification)}`,
  vector: (vector) => `vector 0x${hex(bits(vector, 0, 255), 2)}`,
  address: (address) => `address 0x${hex(address)}`,
  offset: (qualification) => `offset 0x${hex(bits(qualification, 0, 0xfff), 3)}`,
  limit: (ticks) => (ticks >> 63n ? "without a limit" : `for ${ticks} ticks`),
  leave: (why) => listed(FORMAT.leave_names, why),
  "to-cpu": (cpu) => `to CPU ${cpu}`,
  cpu: (cpu) => `CPU ${cpu}`,
  "wake-up": (tsc) => (tsc === (1n << 64n) - 1n ? "no wake-up due" : `until tsc ${tsc}`),
  stop: (reason) => listed(FORMAT.stop_names, reason),
  vm: (number) => `VM ${number}`,
  error: (error) => (error ? `error ${error}` : "VMfailInvalid"),
};

/* The detail decoded; empty if the cause has none. */
function detailWords(record) {
  const form = FORMAT.detail_forms[record.cause];
  return form ? FORMS[form](record.detail) : "";
}

function actionWords(record) {
  if (record.action >= FORMAT.first_vector) {
    return `delivered 0x${hex(record.action, 2)}`;
  }
  if (record.cause === EVENT.enter) {
    return record.action === ACTION.left ? "left" : "entered";
  }
  return FORMAT.action_names[record.action] ?? `action ${record.action}`;
}

/* One line of the listing, without the time. */
function recordWords(trace, record) {
  const detail = detailWords(record);
  const text = `cpu=${record.cpu} vcpu=${record.vcpu ? trace.vcpuName(record.vcpu) : "-"} ${record.name}`
    + (detail ? ` (${detail})` : "");
  return record.isPassage ? `${text} rip=0x${hex(record.rip)} ${actionWords(record)} ticks=${record.ticks}` : text;
}

/* ---- The text form ---- */

/* By the bytes of a field. */
const GETTERS = { 1: DataView.prototype.getUint8, 2: DataView.prototype.getUint16, 4: DataView.prototype.getUint32,
  8: DataView.prototype.getBigUint64 };
const TRACE_LINE = /^rootlet: (?:info: )?trace (version|vm|ring|data|end)\b *=?(.*)/;

/* Takes the trace lines out of a serial console's text. What is damaged is left out, and told in the warnings. */
class TraceReader {
  constructor() {
    this.trace = null;
    this.ended = false;
    this.ring = null;
  }

  numbers(line, text, ...keys) {
    const pairs = Object.fromEntries([...text.matchAll(/(\w+)=(\S+)/g)].map((match) => [match[1], match[2]]));
    for (const key of keys) {
      if (!/^\d+$/.test(pairs[key] ?? "")) {
        throw new TraceError(`line ${line}: this trace line has no number ${key}=`);
      }
    }
    return [pairs, ...keys.map((key) => Number(pairs[key]))];
  }

  version(line, text) {
    const [, version, tscHz, cpus, bytes] = this.numbers(line, `version=${text}`, "version", "tsc_hz", "cpus",
      "record_bytes");
    if (version !== FORMAT.version || bytes < FORMAT.record_bytes) {
      throw new TraceError(`line ${line}: a trace of version ${version}, ${bytes} bytes a record; this page reads `
        + `version ${FORMAT.version}: use the one of the tree that the hypervisor was built from`);
    }
    if (!tscHz || !cpus || cpus > 4096) {
      throw new TraceError(`line ${line}: tsc_hz or cpus cannot be`);
    }
    const again = this.trace !== null;
    this.trace = new Trace(tscHz, cpus);
    this.bytes = bytes;
    this.ended = false;
    this.ring = null;
    if (again) {
      this.trace.warnings.push("several traces in the input: the last one counts");
    }
  }

  vm(line, text) {
    const [pairs, id, cpus] = this.numbers(line, text, "id", "cpus");
    this.trace.vms.set(id, { name: pairs.name ?? `vm${id}`, cpus: Math.min(cpus, 16) });
  }

  takeRing(line, text) {
    this.closeRing();
    const [pairs, cpu, count] = this.numbers(line, text, "cpu", "records");
    if (!FORMAT.rings.includes(pairs.kind) || cpu >= this.trace.cpus) {
      throw new TraceError(`line ${line}: no such ring: kind=${pairs.kind} cpu=${cpu}`);
    }
    this.ring = { cpu, kind: pairs.kind, lost: (pairs.lost ?? "0") !== "0", count, records: [] };
  }

  data(line, text) {
    let bytes = "";
    try {
      bytes = atob(text.trim());
    } catch {
      /* It stays empty, which counts as damaged. */
    }
    if (!this.ring || !bytes || bytes.length % this.bytes) {
      this.trace.warnings.push(`line ${line} is damaged: its records are missing`);
      return;
    }
    const view = new DataView(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)).buffer);
    for (let start = 0; start < bytes.length; start += this.bytes) {
      this.ring.records.push(new TraceRecord(TraceReader.values(view, start), this.ring.cpu));
    }
  }

  static values(view, start) {
    const values = {};
    let at = start;
    for (const [name, size] of FORMAT.fields) {
      values[name] = GETTERS[size].call(view, at, true);
      at += size;
    }
    return values;
  }

  closeRing() {
    if (!this.ring) {
      return;
    }
    const { cpu, kind, count, records } = this.ring;
    if (records.length !== count) {
      this.trace.warnings.push(`ring cpu=${cpu} kind=${kind} has ${records.length} of its ${count} records`);
    }
    this.trace.rings.push(this.ring);
    this.ring = null;
  }

  read(text) {
    let line = 0;
    for (const words of text.split("\n")) {
      line++;
      const match = TRACE_LINE.exec(words.replace(/\r+$/, ""));
      if (!match) {
        continue;
      }
      const [, kind, rest] = match;
      if (kind !== "version" && (!this.trace || this.ended)) {
        throw new TraceError(`line ${line}: trace lines without their first one, rootlet: trace version=`);
      }
      if (kind === "end") {
        this.closeRing();
        this.ended = true;
      } else {
        this[kind === "ring" ? "takeRing" : kind](line, rest);
      }
    }
    if (!this.trace) {
      throw new TraceError("There is no trace in this text: run with the option trace=serial, and give the log of the "
        + "serial console.");
    }
    if (!this.ended) {
      this.closeRing();
      this.trace.warnings.push("the trace is cut off before its end line");
    }
    return this.trace;
  }
}

function readTrace(text) {
  const trace = new TraceReader().read(text);
  if (!trace.rings.some((ring) => ring.records.length)) {
    throw new TraceError("The trace has no records: no virtual machine ran.");
  }
  for (const ring of trace.rings.filter((one) => one.lost)) {
    trace.warnings.push(`cpu ${ring.cpu}: older ${ring.kind} were overwritten, `
      + `the last ${ring.records.length} are here`);
  }
  return trace;
}
