/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A part of a trace as a picture, drawn as tools/trace_svg.py does it: lanes by columns of a pixel, in which what
 * shared a column's time is stacked. So any number of slices becomes a picture of their density. Colours and classes
 * of exits are that file's (PALETTE).
 */
"use strict";

const CPU_LANE = { run: 26, bars: 20, gap: 14 }, VCPU_LANE = { run: 14, bars: 11, gap: 7 };
const TOP = 34, SHADES = 8, BIN = 2, MARK_DISTANCE = 5;
const CLASS_NAMES = PALETTE.classes.map(([name]) => name);
const CLASS_OF = new Map(PALETTE.classes.flatMap(([name, , causes]) => causes.map((cause) => [cause, name])));

function escapeMarkup(words) {
  return String(words).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function rounded(value) {
  return String(Math.round(value * 10) / 10);
}

function rect(x, y, width, height) {
  return `M${rounded(x)} ${rounded(y)}h${rounded(width)}v${rounded(height)}h-${rounded(width)}z`;
}

/* A time on the axis, in the unit that suits the distance of the marks. */
function timeWords(seconds, step) {
  const units = [["s", 1], ["ms", 1e3], ["µs", 1e6]];
  const [unit, factor] = units.find(([, size]) => step * size >= 0.5) ?? units[2];
  return `${(seconds * factor).toFixed(step * factor >= 1 ? 0 : 1)} ${unit}`;
}

/* 1, 2 or 5 times a power of ten, for at most `most` marks. */
function axisStep(seconds, most) {
  const power = 10 ** Math.floor(Math.log10(seconds / most));
  return [1, 2, 5, 10, 20].map((factor) => factor * power).find((step) => seconds / step <= most);
}

class Picture {
  /* width: of the whole picture in pixels; the names of the lanes stand above them where it is narrow. */
  constructor(model, selection, width) {
    Object.assign(this, { model, selection, width });
    this.trace = model.trace;
    this.narrow = width < 640;
    this.left = this.narrow ? 8 : 148;
    this.plot = Math.max(100, Math.floor(width - this.left - (this.narrow ? 8 : 24)));
    this.ticks = Math.max(1, selection.end - selection.start);
    this.parts = [];
    this.lanes = []; // what is where: for pointing at it
    this.y = TOP;
    this.vms = [...this.trace.vms.keys()].sort((one, other) => one - other);
    this.exits = model.exits(selection);
    this.most = this.countMost();
  }

  colour(vm) {
    const index = this.vms.includes(vm) ? this.vms.indexOf(vm) : vm;
    return PALETTE.vms[index % PALETTE.vms.length];
  }

  column(at) {
    return ((at - this.selection.start) * this.plot) / this.ticks;
  }

  /* The time at this many pixels from the picture's left edge. */
  timeAt(x) {
    return this.selection.start + ((x - this.left) * this.ticks) / this.plot;
  }

  bin(done) {
    return Math.floor(Math.min(this.plot - 1, Math.floor(this.column(done.start))) / BIN);
  }

  countMost() {
    const bins = new Map();
    for (const done of this.exits) {
      const key = `${done.record.cpu} ${this.bin(done)}`;
      bins.set(key, (bins.get(key) ?? 0) + 1);
    }
    return [...bins.values()].reduce((most, count) => Math.max(most, count), 1);
  }

  text(x, y, words, style) {
    this.parts.push(`<text x="${rounded(x)}" y="${rounded(y)}" class="${style}">${escapeMarkup(words)}</text>`);
  }

  fill(path, colour, style = "") {
    this.parts.push(`<path fill="${colour}" class="${style}" d="${path}"/>`);
  }

  /* Spans with keys -> for each column a map from key to the share of its time. */
  shares(spans) {
    const columns = Array.from({ length: this.plot }, () => new Map());
    for (const { start, end, key } of spans) {
      const clipped = this.selection.clip({ start, end });
      if (!clipped) {
        continue;
      }
      const first = this.column(clipped.start), last = this.column(clipped.end);
      for (let x = Math.floor(first); x < Math.min(this.plot, Math.ceil(last)); x++) {
        columns[x].set(key, (columns[x].get(key) ?? 0) + Math.min(last, x + 1) - Math.max(first, x));
      }
    }
    return columns;
  }

  /* A lane in which equal neighbours are one rectangle; the first key is at the bottom. */
  strip(columns, height, look) {
    const stacks = columns.map((column) => [...column].sort(([one], [other]) => one - other)
      .map(([key, part]) => [key, Math.min(SHADES, Math.round(part * SHADES))]).filter(([, eighths]) => eighths));
    const same = (one, other) => other && one.join() === other.join();
    const paths = new Map();
    for (let begin = 0, x = 1; x <= this.plot; x++) {
      if (same(stacks[begin], stacks[x])) {
        continue;
      }
      let bottom = this.y + height;
      for (const [key, eighths] of stacks[begin]) {
        const part = (height * eighths) / SHADES;
        bottom -= part;
        paths.set(key, (paths.get(key) ?? "") + rect(this.left + begin, bottom, x - begin, part));
      }
      begin = x;
    }
    for (const [key, path] of paths) {
      this.fill(path, ...look(key));
    }
  }

  /* The name in each stretch that one vCPU nearly has for itself, where it fits. */
  labelRuns(columns, height) {
    const owner = (column) => [...(column ?? [])].find(([, part]) => part >= 0.6)?.[0];
    for (let begin = 0, x = 1; x <= this.plot; x++) {
      if (x < this.plot && owner(columns[x]) === owner(columns[begin])) {
        continue;
      }
      const vcpu = owner(columns[begin]);
      const name = vcpu === undefined ? "" : this.trace.vcpuName(vcpu);
      if (name && x - begin >= 7 * name.length + 6) {
        this.text(this.left + (begin + x) / 2, this.y + height / 2 + 4, name, "in mid");
      }
      begin = x;
    }
  }

  /* Exits as bars: the height is the logarithm of their number, stacked by class. */
  bars(exits, height) {
    const bins = new Map();
    for (const done of exits) {
      const bin = this.bin(done), name = CLASS_OF.get(done.record.cause) ?? "other";
      const classes = bins.get(bin) ?? new Map();
      bins.set(bin, classes.set(name, (classes.get(name) ?? 0) + 1));
    }
    const paths = new Map();
    for (const [bin, classes] of bins) {
      const count = total([...classes.values()]);
      const full = height * (0.3 + (0.7 * Math.log(count)) / Math.log(Math.max(2, this.most)));
      let bottom = this.y + height;
      for (const name of CLASS_NAMES.filter((one) => classes.has(one))) {
        const part = (full * classes.get(name)) / count;
        bottom -= part;
        paths.set(name, (paths.get(name) ?? "") + rect(this.left + bin * BIN, bottom, BIN, part));
      }
    }
    for (const [name, colour] of PALETTE.classes) {
      if (paths.has(name)) {
        this.fill(paths.get(name), colour);
      }
    }
  }

  /* Small marks above the lane; of a crowd only some. */
  triangles(times) {
    let path = "", last = -MARK_DISTANCE;
    for (const at of times) {
      const x = this.column(at);
      if (x >= last + MARK_DISTANCE) {
        path += `M${rounded(this.left + x - 3)} ${rounded(this.y - 4)}h6l-3 5z`;
        last = x;
      }
    }
    this.parts.push(`<path class="mark" d="${path}"/>`);
  }

  line(columns, key, height, colour) {
    let path = "", begin = null;
    for (let x = 0; x <= this.plot; x++) {
      const on = (columns[x]?.get(key) ?? 0) >= 0.5;
      if (on && begin === null) {
        begin = x;
      } else if (!on && begin !== null) {
        path += rect(this.left + begin, this.y + height / 2 - 1, x - begin, 2);
        begin = null;
      }
    }
    this.fill(path, colour, "blocked");
  }

  /* The lane's ground and its name; then the lane's own place. */
  lane(name, exits, sizes, about, swatch) {
    const note = `${exits.length.toLocaleString("en")} exits`;
    if (this.narrow) {
      if (swatch) {
        this.parts.push(`<rect x="${this.left}" y="${this.y}" width="10" height="10" rx="2" fill="${swatch}"/>`);
      }
      this.text(this.left + (swatch ? 15 : 0), this.y + 10, `${name} · ${note}`, "small");
      this.y += 18;
    } else {
      if (swatch) {
        this.parts.push(`<rect x="8" y="${this.y + 2}" width="10" height="${sizes.run - 4}" rx="2" fill="${swatch}"/>`);
      }
      const x = swatch ? 24 : 8, short = name.length <= 18 ? name : `${name.slice(0, 17)}…`;
      this.text(x, this.y + sizes.run / 2 + 4, short, "");
      this.text(x, this.y + sizes.run + sizes.bars / 2 + 4, note, "small");
    }
    this.parts.push(`<path class="lane" d="${rect(this.left, this.y, this.plot, sizes.run + sizes.bars)}"/>`);
    this.lanes.push({ top: this.y - 4, bottom: this.y + sizes.run + sizes.bars, name, ...about });
  }

  cpu(cpu) {
    const { run, bars, gap } = CPU_LANE;
    const exits = this.exits.filter((done) => done.record.cpu === cpu.cpu);
    this.lane(`CPU ${cpu.cpu}`, exits, CPU_LANE, { cpu: cpu.cpu });
    const runs = cpu.runs.filter((one) => this.selection.hasVcpu(one.vcpu));
    const columns = this.shares(runs.map((one) => ({ start: one.start, end: one.end, key: one.vcpu })));
    this.strip(columns, run, (vcpu) => [this.colour(vcpu >> 4)]);
    this.labelRuns(columns, run);
    const works = cpu.works.filter((work) => this.selection.hasWork(work));
    this.strip(this.shares(works.map((work) => ({ ...work, key: 0 }))), run, () => [PALETTE.work]);
    this.line(this.shares(cpu.sleeps.map((sleep) => ({ ...sleep, key: 0 }))), 0, run, PALETTE.asleep);
    const blank = cpu.blank && this.selection.clip(cpu.blank);
    if (blank && blank.end > blank.start) {
      const x = this.column(blank.start);
      this.fill(rect(this.left + x, this.y, this.column(blank.end) - x, run + bars), "url(#lost)");
    }
    this.triangles(this.model.records.filter((record) => record.cause === EVENT.kick && record.cpu === cpu.cpu
      && this.selection.has(record)).map((record) => record.at));
    this.y += run;
    this.bars(exits, bars);
    this.y += bars + gap;
  }

  vcpu(vcpu) {
    const { run, bars, gap } = VCPU_LANE;
    const exits = this.exits.filter((done) => done.record.vcpu === vcpu);
    const colour = this.colour(vcpu >> 4);
    this.lane(this.trace.vcpuName(vcpu), exits, VCPU_LANE, { vcpu }, colour);
    const keys = { running: 0, ready: 1, blocked: 2 };
    const states = this.model.states.get(vcpu).filter((state) => state.name in keys);
    const columns = this.shares(states.map((state) => ({ start: state.start, end: state.end, key: keys[state.name] })));
    this.line(columns, keys.blocked, run, colour);
    columns.forEach((column) => column.delete(keys.blocked));
    this.strip(columns, run, (key) => [colour, key ? "ready" : ""]);
    const marks = this.model.marks.get(vcpu).filter((mark) => ["init", "sipi", "nmi"].includes(mark.name))
      .map((mark) => mark.at);
    const runs = this.model.vcpuRuns.get(vcpu);
    const moves = runs.filter((one, index) => index && runs[index - 1].cpu !== one.cpu).map((one) => one.start);
    this.triangles([...marks, ...moves].filter((at) => this.selection.start <= at && at <= this.selection.end)
      .sort((one, other) => one - other));
    this.stop(vcpu, run);
    this.y += run;
    this.bars(exits, bars);
    this.y += bars + gap;
  }

  /* The reason at the end of the VM. */
  stop(vcpu, height) {
    const record = this.model.stops.get(vcpu >> 4);
    if (!record || !this.selection.has(record) || vcpu & 15) {
      return;
    }
    const x = this.column(record.at), words = detailWords(record);
    if (x + 6 * words.length + 5 < this.plot) {
      this.text(this.left + x + 5, this.y + height / 2 + 4, words, "small");
    }
  }

  /* Vertical lines with the time since the trace's first record. */
  axis(bottom) {
    const hz = this.trace.tscHz, first = this.selection.start / hz, length = this.ticks / hz;
    const step = axisStep(length, this.narrow ? 4 : 10);
    let lines = "";
    for (let at = Math.ceil(first / step - 1e-9); at * step <= first + length * (1 + 1e-9); at++) {
      const x = this.left + ((at * step - first) * hz * this.plot) / this.ticks;
      lines += `M${rounded(x)} ${TOP - 12}V${bottom}`;
      const inside = Math.min(Math.max(x, this.left + 18), this.width - 22);
      this.text(inside, TOP - 18, timeWords(at * step, step), "small mid");
    }
    this.parts.push(`<path class="grid" d="${lines}"/>`);
  }

  draw(label) {
    this.model.cpus.forEach((cpu) => this.cpu(cpu));
    this.y += 6;
    this.model.vcpus.filter((vcpu) => this.selection.hasVcpu(vcpu)).forEach((vcpu) => this.vcpu(vcpu));
    const lanes = this.parts;
    this.parts = [];
    this.axis(this.y);
    const height = Math.ceil(this.y) + 4;
    return `<svg viewBox="0 0 ${this.width} ${height}" width="${this.width}" height="${height}" role="img"`
      + ` aria-label="${escapeMarkup(label)}"><defs><pattern id="lost" width="8" height="8" `
      + 'patternUnits="userSpaceOnUse"><path class="lost" d="M-2 10L10-2"/></pattern></defs>'
      + `${this.parts.join("")}${lanes.join("")}</svg>`;
  }
}
