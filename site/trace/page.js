/* SPDX-License-Identifier: BSD-2-Clause */
/* The trace viewer's page: takes a log, shows a part of the trace, and moves it by mouse, fingers and keys. */
"use strict";

const FIRST_RECORDS = 400, SHORTEST_TICKS = 20, FAR = 5; // FAR: pixels that make a drag
const byId = (id) => document.getElementById(id);

let model = null;
let selection = null;
let picture = null;
let shownRecords = FIRST_RECORDS;

function element(tag, words, properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  if (words !== null) {
    made.textContent = words;
  }
  return made;
}

function milliseconds(ticks) {
  return ((1000 * ticks) / model.trace.tscHz).toFixed(3);
}

/* ---- Tables and the list ---- */

function tableElement({ title, head, rows }) {
  const table = element("table", null);
  table.createCaption().textContent = title;
  const top = table.createTHead().insertRow();
  head.forEach((name, column) => top.append(element("th", name, { scope: "col", className: column ? "number" : "" })));
  const body = table.createTBody();
  for (const cells of rows) {
    const row = body.insertRow();
    cells.forEach((cell, column) => {
      const words = typeof cell === "number" ? cell.toLocaleString("en") : cell;
      row.append(column ? element("td", words, { className: "number" }) : element("th", words, { scope: "row" }));
    });
  }
  const wide = element("div", null, { className: "wide" });
  wide.append(table);
  return wide;
}

function recordLine(record) {
  const microseconds = (record.at / (model.trace.tscHz / 1e6)).toFixed(3).padStart(14);
  return `${microseconds} ${recordWords(model.trace, record)}`;
}

function recordLines() {
  const wanted = byId("filter").value.trim().toLowerCase();
  return model.records.filter((record) => selection.has(record)).map(recordLine)
    .filter((line) => line.toLowerCase().includes(wanted));
}

/* Words for a long trace take a while: without a filter only those that are shown are made. */
function showRecords() {
  const filtered = byId("filter").value.trim() !== "";
  const found = filtered ? recordLines() : model.records.filter((record) => selection.has(record));
  const shown = found.slice(0, shownRecords);
  byId("records").textContent = (filtered ? shown : shown.map(recordLine)).join("\n");
  byId("more").hidden = found.length <= shownRecords;
  byId("count").textContent = `${shown.length.toLocaleString("en")} of ${found.length.toLocaleString("en")} records; `
    + "the first column is microseconds";
}

/* ---- The picture ---- */

function showLegend() {
  const box = (colour, style, y = 0, height = 10) => '<svg width="14" height="10" aria-hidden="true">'
    + `<rect y="${y}" width="14" height="${height}" fill="${colour}" class="${style}"/></svg>`;
  const vm = PALETTE.vms[0];
  const mark = '<svg width="10" height="9" aria-hidden="true"><path fill="currentColor" d="M0 1h9l-4.5 7z"/></svg>';
  const words = [[box(vm, ""), "a vCPU runs, in its VM's colour"], [box(vm, "ready"), "it waits for a CPU"],
    [box(vm, "blocked", 4, 2), "it is blocked: waits for an event"],
    [box(PALETTE.asleep, "blocked", 4, 2), "the CPU sleeps"], [box(PALETTE.work, ""), "the CPU creates or ends a VM"],
    [mark, "above a CPU: it interrupts another CPU; above a vCPU: it has moved to another CPU, or was sent INIT, SIPI "
      + "or an NMI"]];
  const classes = PALETTE.classes.map(([name, colour]) => [box(colour, ""), `${name} exits`]);
  byId("legend").innerHTML = [...words, ...classes].map(([sign, text]) => `<span>${sign}${escapeMarkup(text)}</span>`)
    .join("");
}

function showPicture() {
  const width = Math.max(280, byId("picture").clientWidth);
  picture = new Picture(model, selection, width);
  const label = `Timeline of ${model.cpus.length} CPUs and ${model.vcpus.length} vCPUs from `
    + `${milliseconds(selection.start)} to ${milliseconds(selection.end)} ms; the tables below say the same`;
  byId("picture").innerHTML = picture.draw(label);
}

function show() {
  showPicture();
  byId("part").textContent = `${milliseconds(selection.start)} to ${milliseconds(selection.end)} ms`;
  byId("tables").replaceChildren(...traceTables(model, selection).map(tableElement));
  shownRecords = FIRST_RECORDS;
  showRecords();
}

/* The part that is shown, kept within the trace. */
function select(start, end) {
  const length = Math.min(Math.max(end - start, SHORTEST_TICKS), model.end);
  const from = Math.round(Math.min(Math.max(0, start), model.end - length));
  const vm = byId("vm").value;
  selection = new Selection(from, Math.round(from + length), vm === "" ? null : Number(vm));
  show();
}

function zoom(factor, around = (selection.start + selection.end) / 2) {
  select(around - (around - selection.start) * factor, around + (selection.end - around) * factor);
}

function move(part) {
  const length = selection.end - selection.start;
  select(selection.start + part * length, selection.end + part * length);
}

const DO = {
  in: () => zoom(0.5),
  out: () => zoom(2),
  earlier: () => move(-0.25),
  later: () => move(0.25),
  whole: () => select(0, model.end),
};
const KEYS = { "+": "in", "=": "in", "-": "out", ArrowLeft: "earlier", ArrowRight: "later", 0: "whole" };

/* ---- Pointing ---- */

function placeOf(event) {
  const box = byId("picture").getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

/* What was in the lane at that time, in words. */
function wordsAt({ x, y }) {
  const lane = picture.lanes.find((one) => one.top <= y && y < one.bottom);
  if (!lane || x < picture.left || x > picture.left + picture.plot) {
    return "";
  }
  const at = picture.timeAt(x), reach = picture.ticks / picture.plot;
  const here = (spans) => spans.find((span) => span.start <= at + reach / 2 && at - reach / 2 <= span.end);
  const runs = lane.cpu === undefined ? model.vcpuRuns.get(lane.vcpu) : model.cpus[lane.cpu].runs;
  const run = here(runs);
  const words = [lane.name, `${milliseconds(at)} ms`];
  if (lane.cpu === undefined) {
    words.push(here(model.states.get(lane.vcpu))?.name ?? "");
  } else if (run) {
    words.push(model.trace.vcpuName(run.vcpu));
  } else if (here(model.cpus[lane.cpu].sleeps)) {
    words.push("asleep");
  }
  const near = run ? [...run.exits, ...run.enters].filter((done) => Math.abs(done.start - at) <= 2 * reach)
    .sort((one, other) => Math.abs(one.start - at) - Math.abs(other.start - at))[0] : null;
  return [...words, near ? recordWords(model.trace, near.record) : ""].filter(Boolean).join(" · ");
}

let dragFrom = null;

function band(from, to) {
  byId("band")?.remove();
  if (Math.abs(to - from) < FAR) {
    return;
  }
  const made = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  made.id = "band";
  for (const [name, value] of [["x", Math.min(from, to)], ["y", 0], ["width", Math.abs(to - from)],
    ["height", picture.y]]) {
    made.setAttribute(name, value);
  }
  byId("picture").firstElementChild.append(made);
}

function listenToPicture() {
  const box = byId("picture");
  box.addEventListener("pointerdown", (event) => {
    dragFrom = placeOf(event).x;
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => {
    const place = placeOf(event);
    byId("under").textContent = wordsAt(place);
    if (dragFrom !== null) {
      band(dragFrom, place.x);
    }
  });
  box.addEventListener("pointerup", (event) => {
    const from = dragFrom, to = placeOf(event).x;
    dragFrom = null;
    if (from !== null && Math.abs(to - from) >= FAR) {
      const times = [picture.timeAt(from), picture.timeAt(to)].sort((one, other) => one - other);
      select(...times);
    }
  });
  box.addEventListener("pointercancel", () => {
    dragFrom = null;
    byId("band")?.remove();
  });
  box.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.25 : 0.8, picture.timeAt(placeOf(event).x));
    }
  }, { passive: false });
  box.addEventListener("keydown", (event) => {
    if (KEYS[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      DO[KEYS[event.key]]();
    }
  });
}

/* ---- The log ---- */

function open(text, name) {
  byId("problem").replaceChildren();
  try {
    model = new Model(readTrace(text));
  } catch (error) {
    if (!(error instanceof TraceError)) {
      throw error;
    }
    byId("view").hidden = true;
    byId("problem").append(element("p", `${name}: ${error.message}`, { className: "error" }));
    return;
  }
  const { trace } = model;
  const exits = model.exits(new Selection(0, model.end));
  const unfinished = exits.filter((done) => !done.whole).length;
  byId("summary").textContent = `${name}: ${milliseconds(model.end)} ms on ${trace.cpus} CPUs, ${trace.vms.size} VMs, `
    + `${exits.length.toLocaleString("en")} exits; the TSC counts ${trace.tscHz / 1e6} million ticks a second`;
  const notes = [...trace.warnings, ...(unfinished
    ? [`${unfinished} exits have no end on record: they are counted, but not timed`] : [])];
  byId("warnings").replaceChildren(...notes.map((note) => element("p", note, { className: "notice" })));
  byId("vm").replaceChildren(element("option", "all", { value: "" }),
    ...[...trace.vms].map(([vm, about]) => element("option", about.name, { value: vm })));
  byId("view").hidden = false;
  showLegend();
  const known = model.allKnownFrom;
  select((model.end - known) * 20 >= model.end ? known : 0, model.end);
}

async function openFile(file) {
  if (file) {
    open(await file.text(), file.name);
  }
}

function save() {
  const link = element("a", null, { download: "rootlet-trace.json",
    href: URL.createObjectURL(new Blob([new TimelineWriter(model).text()], { type: "application/json" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function listen() {
  byId("file").addEventListener("change", (event) => openFile(event.target.files[0]));
  byId("example").addEventListener("click", () => open(EXAMPLE, "example"));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  document.addEventListener("dragleave", () => document.body.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    openFile(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const text = event.clipboardData.getData("text");
    if (text.includes("\n") && event.target.id !== "filter") {
      open(text, "pasted text");
    }
  });
  document.querySelectorAll("[data-do]").forEach((button) => {
    button.addEventListener("click", () => DO[button.dataset.do]());
  });
  byId("vm").addEventListener("change", () => select(selection.start, selection.end));
  byId("filter").addEventListener("input", showRecords);
  byId("more").addEventListener("click", () => {
    shownRecords *= 4;
    showRecords();
  });
  byId("save").addEventListener("click", save);
  listenToPicture();
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (model && window.innerWidth !== width) {
      width = window.innerWidth;
      showPicture();
    }
  });
}

listen();
