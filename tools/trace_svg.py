# SPDX-License-Identifier: BSD-2-Clause
"""A trace as a picture: a lane for each CPU and each vCPU, self-contained SVG for light and dark pages.

Everything is drawn by columns of a pixel: what a column's time was shared by is stacked in it. So thousands of slices
or exits become a picture of their density and the file stays small, while long slices and single exits are seen as
such.
"""
import collections
import math
from xml.sax.saxutils import escape

import trace_model
import trace_record as rec
import trace_summary

WIDTH, LEFT, RIGHT, TOP = 1200, 148, 24, 92
PLOT = WIDTH - LEFT - RIGHT
CPU_LANE, VCPU_LANE = (26, 20, 14), (14, 11, 7)  # heights: who runs, exits, gap
SHADES = 8  # a column's shares are drawn in eighths of its height
BIN = 2  # columns of a bar of exits
MARK_DISTANCE = 5  # columns: of several marks closer than this the first is drawn
LABEL_CHARACTERS = 18

VM_COLOURS = ("#3b6fd4", "#c2500f", "#2c8a57", "#a044b3", "#a87914", "#0f7f92", "#c0306f", "#6a58d6", "#5b7f1c",
              "#8f5a3c", "#1f86c0", "#b23b3b")
ASLEEP_COLOUR = "#8b949e"
WORK_COLOUR = "#57606a"  # of no VM, and no class of exits
# Classes of exits: colour and causes; all other causes are "other".
CLASSES = {
    "interrupt, timer": ("#e3a008", {0, 1, 7, 8, 52}),
    "hypercall": ("#388bfd", {18}),
    "instruction": ("#a371f7", {10, 13, 14, 15, 16, 28, 29, 31, 32, 36, 39, 40, 51, 54, 55, 57, 58, 61}),
    "I/O port": ("#3fb950", {30}),
    "memory, APIC": ("#ec6cb9", {43, 44, 45, 48, 56}),
    "HLT": ("#8b949e", {12}),
    "other": ("#f85149", set()),
}
CLASS_OF = {cause: name for name, (_, causes) in CLASSES.items() for cause in causes}

STYLE = """\
text{font:12px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;fill:#1f2328}
.page{fill:#fff;stroke:#d0d7de}.lane{fill:#f3f5f7}.grid{stroke:#d8dee4}.mark{fill:#1f2328}.lost{stroke:#afb8c1}
.title{font-size:18px;font-weight:600}.small{font-size:11px;fill:#59636e}.in{font-size:11px;fill:#fff}\
.mid{text-anchor:middle}
.ready{opacity:.3}.blocked{opacity:.75}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.page{fill:#0d1117;stroke:#30363d}.lane{fill:#1a2029}\
.grid{stroke:#2c333c}
.mark{fill:#e6edf3}.lost{stroke:#4b535d}.small{fill:#9198a1}.in{fill:#fff}}
"""


def number(value):
    return f"{value:.1f}".removesuffix(".0")


def rect(x, y, width, height):
    return f"M{number(x)} {number(y)}h{number(width)}v{number(height)}h-{number(width)}z"


def shorten(name):
    return name if len(name) <= LABEL_CHARACTERS else name[: LABEL_CHARACTERS - 1] + "…"


def time_words(seconds, step):
    """A time on the axis, in the unit that suits the distance of the marks."""
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if step * factor >= 0.5:
            break
    return f"{seconds * factor:.{0 if step * factor >= 1 else 1}f} {unit}"


def axis_step(seconds):
    """1, 2 or 5 times a power of ten, for at most ten marks."""
    power = 10 ** math.floor(math.log10(seconds / 10))
    return next(power * factor for factor in (1, 2, 5, 10, 20) if seconds / (power * factor) <= 10)


def stack(column):
    """A column's shares in eighths: ((key, eighths), ...) in the order of the keys."""
    return tuple((key, min(SHADES, round(share * SHADES))) for key, share in sorted(column.items())
                 if round(share * SHADES))


class Picture:
    def __init__(self, model, selection, title):
        self.model, self.trace, self.selection, self.title = model, model.trace, selection, title
        self.ticks = max(1, selection.end - selection.start)
        self.parts, self.y = [], TOP
        self.vms = [vm for vm in sorted(self.trace.vms) if selection.vms is None or vm in selection.vms]
        self.exits = model.exits(selection)
        self.cpus = [cpu for cpu in range(self.trace.cpus) if selection.has_cpu(cpu)]
        self.vcpus = [vcpu for vcpu in model.vcpus if selection.has_vcpu(vcpu) and self.is_here(vcpu)]
        self.most = 1

    def is_here(self, vcpu):
        return self.selection.cpus is None or any(run.cpu in self.selection.cpus for run in self.model.vcpu_runs[vcpu])

    def colour(self, vm):
        return VM_COLOURS[(self.vms.index(vm) if vm in self.vms else vm) % len(VM_COLOURS)]

    def column(self, tsc):
        return (tsc - self.selection.start) * PLOT / self.ticks

    def add(self, text):
        self.parts.append(text)

    def text(self, x, y, words, style="", more=""):
        style = f' class="{style}"' if style else ""
        self.add(f'<text x="{number(x)}" y="{number(y)}"{style}{more}>{escape(words)}</text>')

    # ---- Columns ----

    def shares(self, spans):
        """Spans with keys -> for each column {key: share of its time}."""
        columns = [collections.defaultdict(float) for _ in range(PLOT)]
        for start, end, key in spans:
            clipped = self.selection.clip(start, end)
            if clipped is None:
                continue
            first, last = self.column(clipped.start), self.column(clipped.end)
            for x in range(int(first), min(PLOT, math.ceil(last))):
                columns[x][key] += min(last, x + 1) - max(first, x)
        return columns

    def strip(self, columns, height):
        """key -> path of a lane in which equal neighbours are one rectangle; the first key is at the bottom."""
        paths = collections.defaultdict(list)
        stacks = [stack(column) for column in columns] + [None]
        begin = 0
        for x in range(1, PLOT + 1):
            if stacks[x] == stacks[begin]:
                continue
            bottom = self.y + height
            for key, eighths in stacks[begin]:
                part = height * eighths / SHADES
                bottom -= part
                paths[key].append(rect(LEFT + begin, bottom, x - begin, part))
            begin = x
        return paths

    def fill(self, path, colour, style=""):
        style = f' class="{style}"' if style else ""
        self.add(f'<path fill="{colour}"{style} d="{"".join(path)}"/>')

    def label_runs(self, columns, height):
        """The name in each stretch that one vCPU nearly has for itself, where it fits."""
        owners = [max(column, key=column.get) if column and max(column.values()) >= 0.6 else None
                  for column in columns] + [0]
        begin = 0
        for x in range(1, PLOT + 1):
            if owners[x] == owners[begin]:
                continue
            if owners[begin] is not None:
                name = shorten(self.trace.vcpu_name(owners[begin]))
                if x - begin >= 7 * len(name) + 6:
                    self.text(LEFT + (begin + x) / 2, self.y + height / 2 + 4, name, "in mid")
            begin = x

    def bars(self, exits, height):
        """Exits as bars: the height is the logarithm of their number, stacked by class."""
        bins = collections.defaultdict(collections.Counter)
        for done in exits:
            bins[min(PLOT - 1, int(self.column(done.start))) // BIN][CLASS_OF.get(done.record.cause, "other")] += 1
        paths = collections.defaultdict(list)
        for index, classes in bins.items():
            count = sum(classes.values())
            full = height * (0.3 + 0.7 * math.log(count) / math.log(max(2, self.most)))
            bottom = self.y + height
            for name in CLASSES:
                part = full * classes[name] / count
                bottom -= part
                if classes[name]:
                    paths[name].append(rect(LEFT + index * BIN, bottom, BIN, part))
        for name, path in paths.items():
            self.fill(path, CLASSES[name][0])

    def triangles(self, moments):
        """Small marks above the lane; of a crowd only some."""
        path, last = [], -MARK_DISTANCE
        for tsc in moments:
            x = self.column(tsc)
            if x >= last + MARK_DISTANCE:
                path.append(f"M{number(LEFT + x - 3)} {number(self.y - 4)}h6l-3 5z")
                last = x
        if path:
            self.add(f'<path class="mark" d="{"".join(path)}"/>')

    # ---- Lanes ----

    def lane(self, name, note, heights, swatch=None):
        run, bars, gap = heights
        self.add(f'<path class="lane" d="{rect(LEFT, self.y, PLOT, run + bars)}"/>')
        if swatch:
            self.add(f'<rect x="16" y="{self.y + 2}" width="10" height="{run - 4}" rx="2" fill="{swatch}"/>')
        self.text(32 if swatch else 16, self.y + run / 2 + 4, shorten(name))
        self.text(32 if swatch else 16, self.y + run + bars / 2 + 4, note, "small")
        return gap

    def cpu(self, cpu):
        run, bars, gap = CPU_LANE
        exits = [done for done in self.exits if done.record.cpu == cpu]
        self.lane(f"CPU {cpu}", f"{len(exits):,} exits", CPU_LANE)
        runs = [r for r in self.model.runs[cpu] if self.selection.has_vcpu(r.vcpu)]
        columns = self.shares((r.start, r.end, r.vcpu) for r in runs)
        for vcpu, path in self.strip(columns, run).items():
            self.fill(path, self.colour(vcpu >> 4))
        self.label_runs(columns, run)
        works = filter(self.selection.has_work, self.model.works[cpu])
        for path in self.strip(self.shares((work.start, work.end, 0) for work in works), run).values():
            self.fill(path, WORK_COLOUR, "work")
        asleep = self.shares((sleep.start, sleep.end, 0) for sleep in self.model.sleeps[cpu])
        self.line([column.get(0, 0) >= 0.5 for column in asleep] + [False], run, ASLEEP_COLOUR)
        blank = self.model.blank[cpu]
        blank = self.selection.clip(*blank) if blank else None
        if blank and blank.end > blank.start:
            left, right = self.column(blank.start), self.column(blank.end)
            self.add(f'<path fill="url(#lost)" d="{rect(LEFT + left, self.y, right - left, run + bars)}"/>')
        self.triangles(r.tsc for r in self.model.records if r.cause == rec.KICK and r.cpu == cpu
                       and self.selection.has(r))
        self.y += run
        self.bars(exits, bars)
        self.y += bars + gap

    def vcpu(self, vcpu):
        run, bars, gap = VCPU_LANE
        exits = [done for done in self.exits if done.record.vcpu == vcpu]
        colour = self.colour(vcpu >> 4)
        self.lane(self.trace.vcpu_name(vcpu), f"{len(exits):,} exits", VCPU_LANE, colour)
        keys = {trace_model.RUNNING: 0, trace_model.READY: 1, trace_model.BLOCKED: 2}
        states = [s for s in self.model.states[vcpu] if s.name in keys
                  and (s.cpu is None or self.selection.has_cpu(s.cpu))]
        columns = self.shares((s.start, s.end, keys[s.name]) for s in states)
        blocked = [column.pop(2, 0) >= 0.5 for column in columns] + [False]
        for key, path in self.strip(columns, run).items():
            self.fill(path, colour, "ready" if key else "")
        self.line(blocked, run, colour)
        marks = [r.tsc for r in self.model.marks[vcpu] if r.cause in (rec.INIT, rec.SIPI, rec.NMI)
                 and self.selection.has(r)]
        self.triangles(sorted(marks + self.moves(vcpu)))
        self.stop(vcpu, run)
        self.y += run
        self.bars(exits, bars)
        self.y += bars + gap

    def moves(self, vcpu):
        """When it began to run on another CPU than before."""
        runs = self.model.vcpu_runs[vcpu]
        moved = [after.start for before, after in zip(runs, runs[1:]) if before.cpu != after.cpu]
        return [tsc for tsc in moved if self.selection.start <= tsc <= self.selection.end]

    def line(self, blocked, height, colour):
        path, begin = [], None
        for x, on in enumerate(blocked):
            if on and begin is None:
                begin = x
            elif not on and begin is not None:
                path.append(rect(LEFT + begin, self.y + height / 2 - 1, x - begin, 2))
                begin = None
        if path:
            self.fill(path, colour, "blocked")

    def stop(self, vcpu, height):
        record = self.model.stops.get(vcpu >> 4)
        if record is None or not self.selection.start <= record.tsc <= self.selection.end or vcpu & 15:
            return
        x, words = self.column(record.tsc), rec.detail_words(record)
        if x + 6 * len(words) + 5 < PLOT + RIGHT:
            self.text(LEFT + x + 5, self.y + height / 2 + 4, words, "small")

    # ---- The frame ----

    def axis(self, bottom):
        """Vertical lines with the time since the trace's first record."""
        hz = self.trace.tsc_hz
        step = axis_step(self.ticks / hz)
        first = (self.selection.start - self.model.start) / hz
        at = math.ceil(first / step - 1e-9)
        lines = []
        while at * step <= first + self.ticks / hz * (1 + 1e-9):
            x = LEFT + (at * step - first) * hz * PLOT / self.ticks
            lines.append(f"M{number(x)} {TOP - 12}V{bottom}")
            self.text(x, TOP - 18, time_words(at * step, step), "small mid")
            at += 1
        self.text(16, TOP - 18, "since the first record", "small")
        self.add(f'<path class="grid" d="{"".join(lines)}"/>')

    def legend_row(self, signs):
        """Signs with their words: (path of a sign that is 14 columns wide at x, colour, style, words)."""
        x = 16
        for sign, colour, style, words in signs:
            self.fill([sign(x)], colour, style)
            self.text(x + 20, self.y + 9, words, "small")
            x += 38 + 5.6 * len(words)
        self.y += 20

    def legend(self):
        def box(x):
            return rect(x, self.y, 14, 10)

        def line(x):
            return rect(x, self.y + 4, 14, 2)

        def triangle(x):
            return f"M{number(x + 3)} {self.y + 2}h8l-4 7z"

        self.y += 10
        vm = VM_COLOURS[0]
        self.legend_row([(box, vm, "", "a vCPU runs, in its VM's colour"), (box, vm, "ready", "it waits for a CPU"),
                         (line, vm, "blocked", "it is blocked: waits for an event"),
                         (line, ASLEEP_COLOUR, "blocked", "the CPU sleeps"),
                         (box, WORK_COLOUR, "work", "the CPU creates or ends a VM"),
                         (box, "url(#lost)", "", "records are lost")])
        self.legend_row([(triangle, "#1f2328", "mark", "above a CPU: it interrupts another CPU; above a vCPU: it has "
                          "moved to another CPU, or was sent INIT, SIPI or an NMI")])
        self.legend_row([(box, colour, "", f"{name} exits") for name, (colour, _) in CLASSES.items()])
        seconds = BIN * self.ticks / PLOT / self.trace.tsc_hz
        self.text(16, self.y + 9, "The height of these bars is the logarithm of the number of exits in "
                  f"{time_words(seconds, seconds)}; the highest stands for {self.most:,} exits.", "small")
        self.y += 22

    def head(self):
        hz = self.trace.tsc_hz
        whole = sum(max(0, self.selection.end - self.selection.start) for _ in self.cpus)
        inside = trace_summary.time_in(self.selection, self.exits)
        words = [time_words(self.ticks / hz, self.ticks / hz), f"{len(self.cpus)} CPUs",
                 f"{len(self.vms)} VMs, {len(self.vcpus)} vCPUs",
                 f"{len(self.exits):,} exits in {trace_summary.share(inside, whole)} of the CPUs' time"]
        if self.selection.start > self.model.start:
            words.append(f"begins {1000 * (self.selection.start - self.model.start) / hz:.1f} ms "
                         "after the trace's first record")
        self.text(16, 30, self.title, "title")
        self.text(16, 50, " · ".join(words), "small")

    def count_most(self):
        bins = collections.Counter()
        for done in self.exits:
            place = min(PLOT - 1, int(self.column(done.start))) // BIN
            bins["cpu", done.record.cpu, place] += 1
        self.most = max(bins.values(), default=1)

    def draw(self):
        self.count_most()
        self.head()
        frame = len(self.parts)
        for cpu in self.cpus:
            self.cpu(cpu)
        self.y += 6
        for vcpu in self.vcpus:
            self.vcpu(vcpu)
        lanes, self.parts = self.parts[frame:], self.parts[:frame]
        self.axis(self.y)
        self.parts += lanes
        self.legend()
        height = math.ceil(self.y) + 6
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            f'role="img">\n'
            f"<title>{escape(self.title)}</title>\n<style>{STYLE}</style>\n"
            '<defs><pattern id="lost" width="8" height="8" patternUnits="userSpaceOnUse">'
            '<path class="lost" d="M-2 10L10-2"/></pattern></defs>\n'
            f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>\n'
        )
        return head + "\n".join(self.parts) + "\n</svg>\n"


def text(model, selection, title):
    return Picture(model, selection, title).draw()
