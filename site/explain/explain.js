/* SPDX-License-Identifier: BSD-2-Clause */
/* The page: gives the text to the checker (explain.wasm), and shows the JSON that it answers with. */
"use strict";

const WAIT_MS = 150, PAGE_BYTES = 65536, FIRST_ANSWER_BYTES = 1 << 18;
const FORMAT_WORDS = {
  kvm: "KVM's dump", xen: "Xen's dump", rootlet: "Rootlet's dump", haxm: "HAXM's dump",
  virtualbox: "VirtualBox's dump", names: "a list of names and values", encodings: "a list of encodings and values",
};
const AREA_WORDS = { guest: "Guest state", control: "Controls", host: "Host state", exit: "Exit information" };
const RULES = "docs/entry-rules.html#";
/* Rules that are no rule of a field: the page of the rules does not have them. */
const BASIC_RULES = ["LAUNCH_CLEAR", "RESUME_LAUNCHED", "ENTRY_MOV_SS"];

const byId = (id) => document.getElementById(id);
let checker = null;
let answer = null;

/* ---- The checker ---- */

class Checker {
  constructor(instance) {
    this.calls = instance.exports;
    this.base = this.calls.__heap_base.value;
    this.models = [];
    for (let number = 0, at; (at = this.calls.explain_model_name(number)); number++) {
      this.models.push(this.textAt(at));
    }
  }

  static async start() {
    const bytes = Uint8Array.from(atob(EXPLAIN_WASM), (sign) => sign.charCodeAt(0));
    return new Checker((await WebAssembly.instantiate(bytes, {})).instance);
  }

  bytes(at, length) {
    return new Uint8Array(this.calls.memory.buffer, at, length);
  }

  textAt(at) {
    const all = new Uint8Array(this.calls.memory.buffer, at);
    return new TextDecoder().decode(all.subarray(0, all.indexOf(0)));
  }

  room(bytes) {
    const missing = this.base + bytes - this.calls.memory.buffer.byteLength;
    if (missing > 0) {
      this.calls.memory.grow(Math.ceil(missing / PAGE_BYTES));
    }
  }

  /* model: counted from 1, 0 is none; which: the dump of the text, from 1. */
  explain(text, caps, model, which, size = FIRST_ANSWER_BYTES) {
    const dump = new TextEncoder().encode(text), msrs = new TextEncoder().encode(caps);
    const at = { dump: this.base, caps: this.base + dump.length, out: this.base + dump.length + msrs.length };
    this.room(dump.length + msrs.length + size);
    this.bytes(at.dump, dump.length).set(dump);
    this.bytes(at.caps, msrs.length).set(msrs);
    const length = this.calls.page_answer(at.dump, dump.length, at.caps, msrs.length, model, which, at.out, size);
    if (length >= size) {
      return this.explain(text, caps, model, which, length + 1);
    }
    return JSON.parse(new TextDecoder().decode(this.bytes(at.out, length)));
  }
}

/* ---- Elements ---- */

function element(tag, content = [], properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...[content].flat());
  return made;
}

/* Selects that line of the dump. */
function lineButton(line) {
  const button = element("button", `line ${line}`, { type: "button", className: "line",
    title: "Show it in the dump" });
  button.addEventListener("click", () => {
    const dump = byId("dump"), before = dump.value.split("\n").slice(0, line - 1).join("\n");
    const start = before.length + (line > 1 ? 1 : 0), end = dump.value.indexOf("\n", start);
    dump.focus();
    dump.setSelectionRange(start, end < 0 ? dump.value.length : end);
    const height = dump.scrollHeight / dump.value.split("\n").length;
    dump.scrollTop = Math.max(0, (line - 4) * height);
  });
  return button;
}

function rowsOf(pairs) {
  return element("dl", pairs.filter(([, content]) => content.length)
    .flatMap(([name, content]) => [element("dt", name), element("dd", content)]));
}

function ruleLink(name) {
  return BASIC_RULES.includes(name) ? name : element("a", name, { href: RULES + name });
}

/* A name that may be broken behind its underscores. */
function breakable(name) {
  return name.split(/(?<=_)/).flatMap((part, index) => (index ? [element("wbr"), part] : [part]));
}

/* Leads to the field's row in the decoded VMCS, if the dump has it. */
function fieldLink(item) {
  const known = answer.fields.some((field) => field.name === item.field);
  const link = known ? element("a", breakable(item.field), { href: `#field-${item.field}` }) : item.field;
  return [link, valueWords(item).slice(item.field.length)];
}

function valueWords(item) {
  const entry = item.entry === undefined ? "" : ` entry ${item.entry}`;
  return `${item.field}${entry}` + (item.value === undefined ? ", which the dump does not show" : ` = ${item.value}`);
}

function brokenCard(item) {
  const head = element("h3", [...fieldLink(item), " "]);
  if (item.line) {
    head.append(lineButton(item.line));
  }
  return element("article", [head, rowsOf([
    ["decoded", item.decoded],
    ["rule", item.words],
    ["cause", item.cause],
    ["SDM", [item.sdm, " · ", ruleLink(item.rule)]],
  ])], { className: "finding broken" });
}

/* On what it depends whether the rule is broken, in sentences. */
function openWords(item) {
  const fields = item.needs.filter((need) => need !== item.field), cpu = item.needs_cpu;
  const words = [];
  if (item.decoded && item.value !== undefined) {
    const unless = ` unless ${cpu.join(" and ")} ${cpu.length === 1 ? "allows" : "allow"} it`;
    words.push(item.decoded + (cpu.length ? unless : ""));
  } else if (cpu.length) {
    words.push(`it depends on the CPU: ${cpu.join(", ")}`);
  }
  if (fields.length) {
    words.push(`it depends on what the dump does not show: ${fields.join(", ")}`);
  }
  if (item.needs_memory) {
    words.push(`it depends on memory: ${item.needs_memory}`);
  }
  return [item.words, ...words].map((one) => `${capitalized(one)}. `).join("");
}

function openItem(item) {
  return element("li", [element("b", fieldLink(item)), ": ", openWords(item),
    element("span", ["SDM ", item.sdm, " · ", ruleLink(item.rule)], { className: "quiet" })]);
}

/* What the dump shows goes first. */
function openItems() {
  const shows = (item) => (item.value === undefined ? 1 : 0);
  return [...answer.unjudged].sort((one, other) => shows(one) - shows(other));
}

function list(title, items) {
  return items.length ? [element("h3", title), element("ul", items.map((item) => element("li", item)))] : [];
}

/* ---- The answer ---- */

function many(count, one, more) {
  return `${count} ${count === 1 ? one : more}`;
}

function verdictWords() {
  const broken = answer.broken.length, open = answer.unjudged.length;
  if (answer.verdict === "not-a-dump") {
    return "No dump of a VMCS was found in this text.";
  }
  if (answer.verdict === "broken") {
    const fields = [...new Set(answer.broken.map((item) => item.field))];
    const more = fields.length > 3 ? ` and ${fields.length - 3} more` : "";
    return `${many(broken, "rule is", "rules are")} broken: ${fields.slice(0, 3).join(", ")}${more}`;
  }
  if (answer.verdict === "clean") {
    return "Nothing is broken: by the fields of this dump the VM entry succeeds.";
  }
  return open ? `Nothing is broken as far as the dump tells; ${open} that could matter cannot be judged.`
    : "Nothing is broken that the dump shows.";
}

/* Where something is broken, what else could be is for those who ask. */
function unjudged() {
  if (!answer.unjudged.length) {
    return [];
  }
  const count = many(answer.unjudged.length, "rule that could matter is", "rules that could matter are");
  return [element("details", [element("summary", `${count} not judged: the dump does not say enough`),
    element("ul", openItems().map(openItem))], { open: answer.verdict !== "broken" })];
}

function notUnderstood() {
  const shown = answer.not_understood.map(({ line, text, why }) =>
    [lineButton(line), " ", element("code", text), why ? ` (${why})` : ""]);
  const rest = (answer.not_understood_count ?? shown.length) - shown.length;
  return list("Not understood", rest > 0 ? [...shown, [`and ${rest} more`]] : shown);
}

function showAnswer() {
  const known = answer.verdict !== "not-a-dump";
  const fields = many(answer.fields.length, "field", "fields");
  const about = known ? `${FORMAT_WORDS[answer.format] ?? "a dump"}, ${fields}. ` : "";
  byId("verdict").className = `verdict ${answer.verdict}`;
  byId("verdict").textContent = verdictWords();
  const first = about + (answer.cpu ? `The CPU says: ${answer.cpu}.` : "");
  const lines = [capitalized(first), ...answer.remarks].filter((line) => line);
  byId("answer").replaceChildren(
    ...lines.map((line, index) => element("p", line, { className: index || !known ? "notice" : "quiet" })),
    ...answer.broken.map(brokenCard),
    ...unjudged(),
    ...list("Fields that the dump lacks and that matter", answer.missing.length ? [answer.missing.join(", ")] : []),
    ...(known && answer.verdict !== "broken"
      ? list("What else makes a VM entry fail, and no VMCS shows", answer.also) : []),
    ...(known ? notUnderstood() : []));
  byId("copy").hidden = !known || !navigator.clipboard; // a page of plain http has none
}

function fieldRow(field) {
  const name = element("th", breakable(field.name), { scope: "row" });
  if (field.broken) {
    name.prepend("✗ ");
    name.append(element("span", " broken", { className: "hidden" }));
  }
  return element("tr", [name, element("td", element("code", field.encoding), { className: "encoding" }),
    element("td", field.value, { className: "value" }), element("td", field.decoded, { className: "words" }),
    element("td", field.line ? lineButton(field.line) : "", { className: "where" })],
  { className: field.broken ? "broken" : "", id: `field-${field.name}` });
}

function showFields() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const shown = answer.fields.filter((field) =>
    `${field.name} ${field.encoding} ${field.value} ${field.decoded}`.toLowerCase().includes(wanted));
  byId("decoded").hidden = !answer.fields.length;
  byId("fields").replaceChildren(...Object.entries(AREA_WORDS).flatMap(([area, words]) => {
    const rows = shown.filter((field) => field.area === area);
    if (!rows.length) {
      return [];
    }
    const head = element("thead", element("tr", [["field", ""], ["encoding", "encoding"], ["value", "number"],
      ["decoded", "words"], ["where", "where"]].map(([name, className]) =>
      element("th", name, { scope: "col", className }))));
    return [element("div", element("table", [element("caption", words), head, element("tbody", rows.map(fieldRow))]),
      { className: "wide" })];
  }));
}

function capitalized(words) {
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}`;
}

/* Much as tools/vmx-explain prints it: for an answer to a mail. */
function answerText() {
  const lines = [capitalized(`${FORMAT_WORDS[answer.format]}, ${answer.fields.length} fields. ${verdictWords()}`)];
  if (answer.cpu) {
    lines.push(`The CPU says: ${answer.cpu}.`);
  }
  answer.broken.forEach((item, index) => lines.push("", `${index + 1}. ${valueWords(item)}`, `   ${item.decoded}`,
    `   rule: ${item.words}`, `   SDM ${item.sdm}`, `   cause: ${item.cause}`));
  lines.push(...answer.remarks.flatMap((remark) => ["", remark]));
  if (answer.unjudged.length && answer.verdict !== "broken") {
    lines.push("", "Not judged:", ...openItems().map((item) =>
      `- ${valueWords(item)}: ${openWords(item)}(SDM ${item.sdm})`));
  }
  return `${lines.filter((line) => line !== "   ").join("\n")}\n`;
}

function reset() {
  answer = null;
  byId("verdict").className = "verdict";
  byId("verdict").textContent = "Nothing to explain yet.";
  byId("answer").replaceChildren();
  byId("decoded").hidden = true;
  byId("copy").hidden = true;
  byId("which-row").hidden = true;
}

/* The text may have several dumps: then one is chosen. */
function showDumps() {
  const which = byId("which");
  if (which.options.length !== answer.dumps) {
    which.replaceChildren(...Array.from({ length: answer.dumps }, (_, index) =>
      element("option", String(index + 1), { value: index + 1 })));
  }
  byId("which-row").hidden = !(answer.dumps > 1);
}

function explain() {
  const text = byId("dump").value;
  if (!checker) {
    return;
  }
  if (!text.trim()) {
    reset();
    return;
  }
  const ask = (which) => checker.explain(text, byId("caps").value, Number(byId("model").value), which);
  const which = Number(byId("which").value || 1);
  answer = ask(which);
  if (which > Math.max(1, answer.dumps)) {
    answer = ask(1);
  }
  showDumps();
  showAnswer();
  showFields();
}

/* A checker that fails is an error of ours: it is said, and the next text finds a new one. */
function explainOrSay() {
  try {
    explain();
  } catch (error) {
    reset();
    byId("verdict").className = "verdict unknown";
    byId("verdict").textContent = `The checker failed on this text: ${error.message}. Please report it with the text.`;
    checker = null;
    Checker.start().then((started) => {
      checker = started;
    });
  }
}

/* ---- What the reader does ---- */

let timer = 0;

function explainSoon() {
  clearTimeout(timer);
  timer = setTimeout(explainOrSay, WAIT_MS);
}

function give(text) {
  byId("dump").value = text;
  byId("dump").scrollTop = 0;
  byId("which").replaceChildren();
  explainOrSay();
}

async function copy() {
  const button = byId("copy"), words = button.textContent;
  await navigator.clipboard.writeText(answerText());
  button.textContent = "Copied";
  setTimeout(() => {
    button.textContent = words;
  }, 1500);
}

function listen() {
  for (const { title, text } of EXAMPLES) {
    const button = element("button", title, { type: "button" });
    button.addEventListener("click", () => give(text));
    byId("examples").append(button);
  }
  for (const id of ["dump", "caps"]) {
    byId(id).addEventListener("input", explainSoon);
  }
  for (const id of ["model", "which"]) {
    byId(id).addEventListener("change", explainOrSay);
  }
  byId("filter").addEventListener("input", showFields);
  byId("copy").addEventListener("click", copy);
  byId("clear").addEventListener("click", () => {
    give("");
    byId("dump").focus();
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", async (event) => {
    if (event.dataTransfer.files.length) {
      event.preventDefault();
      give(await event.dataTransfer.files[0].text());
    }
  });
}

async function begin() {
  checker = await Checker.start();
  byId("model").append(...checker.models.map((name, number) => element("option", name, { value: number + 1 })));
  explainOrSay();
}

listen();
/* The page is painted first; then there is something to wait for. */
requestAnimationFrame(() => setTimeout(begin));
