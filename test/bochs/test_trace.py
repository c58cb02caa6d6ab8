# SPDX-License-Identifier: BSD-2-Clause
"""tools/trace: reads what docs/trace.md says, tells the truth about it, and writes files that others can open."""
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree

import pytest

import machine
import trace_log
import vms
from trace_log import (BLOCKED, CPUID, HLT, IO, LEAVE, LEFT, MIGRATE, PREEMPTED, SKIP, SLEEP, STOPPED, TIMER,
                       TO_HYPERVISOR, TO_INNER, VM_START, VM_STOP, VMLAUNCH, VMRESUME, WAKE, Log)

TOOLS = os.path.join(machine.TREE, "tools")
sys.path.insert(0, TOOLS)
import trace_record  # noqa: E402


def load_tool():
    loader = importlib.machinery.SourceFileLoader("tool_trace", os.path.join(TOOLS, "trace"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tool_trace", loader))
    loader.exec_module(module)
    return module


tool = load_tool()

SEEDS = (1, 2, 3)
T0 = 1 << 33  # a time whose low half is small, and whose high half is not 0


def run_tool(log, *arguments):
    """The tool with the log as its standard input, in this process: hundreds of runs."""
    text = log if isinstance(log, str) else log.text()
    stdin, stdout, stderr = io.TextIOWrapper(io.BytesIO(text.encode())), io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        patch.setattr(sys, "argv", ["trace", "-", *map(str, arguments)])
        patch.setattr(sys, "stdin", stdin)
        try:
            status = tool.main()
        except SystemExit as end:
            status = end.code
        stdout.flush()
        return subprocess.CompletedProcess([], status, stdout.buffer.getvalue().decode(), stderr.getvalue())


def output(log, *arguments):
    result = run_tool(log, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def table(text, title):
    """Rows of the table whose first heading this is: name -> {heading: number or share}."""
    lines = text.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith(title + "  "))
    header = re.split(r"  +", lines[at])[1:]
    rows = {}
    for line in lines[at + 1 :]:
        if not line:
            break
        name, *cells = re.split(r"  +", line)
        values = [float(c[:-2]) if c.endswith(" %") else 0 if c == "-" else int(c.replace(",", "")) for c in cells]
        rows[name] = dict(zip(header, values))
    return rows


# ---- The tables are those of the hypervisor ----


def enum_values(text, prefix):
    """NAME -> value of the enumerators with the prefix; those without a value follow the one before."""
    found, value = {}, -1
    for name, given in re.findall(rf"\b({prefix}\w+)(?: = (\d+))?,", text):
        value = int(given) if given else value + 1
        found.setdefault(name, value)
    return found


def test_exit_names_are_those_of_the_hypervisor():
    text = vms.read("vmx/exit/exit.c")
    named = {name: int(number) for name, number in re.findall(r"#define (EXIT_\w+) +(\d+)u", text)}
    rows = re.findall(r'\[(\w+)\] *= *\{"([a-z-]+)"', text)
    names = {int(key) if key.isdigit() else named[key]: name for key, name in rows if name != "unknown"}
    assert len(names) > 50 and names == trace_record.EXIT_NAMES


def test_events_and_actions_are_those_of_the_hypervisor():
    text = vms.read("kernel/trace/trace.h")
    causes = enum_values(re.search(r"enum trace_cause \{(.*?)\};", text, re.DOTALL).group(1), "TRACE_")
    assert {value: name[len("TRACE_") :].lower().replace("_", "-")
            for name, value in causes.items()} == trace_record.EVENT_NAMES
    actions = enum_values(re.search(r"enum trace_action \{(.*?)\};", text, re.DOTALL).group(1), "TRACE_")
    assert {value: name[len("TRACE_") :].lower().replace("_", "-")
            for name, value in actions.items()} == trace_record.ACTION_NAMES
    assert int(re.search(r"TRACE_VERSION\s+(\d+)", text).group(1)) == trace_record.VERSION
    leave = re.search(r"enum trace_leave \{(.*?)\}", text, re.DOTALL).group(1)
    assert tuple(name.lower() for name in re.findall(r"TRACE_LEAVE_(\w+)", leave)) == trace_record.LEAVE_NAMES


def test_stop_reasons_and_hypercalls_are_those_of_the_hypervisor():
    reasons = re.search(r"enum vm_stop_reason \{(.*?)\};", vms.read("kernel/vm/vm.h"), re.DOTALL).group(1)
    names = [name.lower().replace("_", "-") for name in re.findall(r"VM_(?:STOP_)?(\w+),", reasons)]
    assert tuple(names) == trace_record.STOP_NAMES
    calls = re.findall(r"ROOTLET_CALL_(\w+)\s+(\d+)\b", vms.read("guests/include/rootlet_abi.h"))
    by_number = {int(number): name.lower().replace("_", "-") for name, number in calls
                 if name not in ("COUNT", "RESERVED")}
    assert tuple(by_number[number] for number in range(len(by_number))) == trace_record.HYPERCALLS


def test_the_page_has_the_same_numbers():
    page = vms.read("docs/trace.md")
    rows = dict(re.findall(r"(?:\| |, )(\d{3}) ([A-Za-z -]+?)(?= \||, \d)", page))
    for number, name in trace_record.EVENT_NAMES.items():
        assert rows[str(number)].lower().replace(" ", "-") == name


# ---- What is read ----


@pytest.mark.parametrize("seed", SEEDS)
def test_summary_counts_and_adds_up(seed):
    """Against the numbers that the writer of the log kept."""
    played = trace_log.Machine(seed)
    text = output(played.log)
    every = [exit for exits in played.exits.values() for exit in exits]
    costs = table(text, "exits by cause")
    for cause, name in ((CPUID, "cpuid"), (HLT, "hlt"), (IO, "io")):
        ticks = sorted(t for c, t in every if c == cause)
        row = costs[name]
        assert (row["count"], row["total ticks"], row["maximum ticks"]) == (len(ticks), sum(ticks), ticks[-1])
    assert costs["all"]["count"] == len(every) and costs["all"]["total ticks"] == sum(t for _, t in every)
    running = {name: row["running ticks"] for name, row in table(text, "vCPUs").items()}
    assert running == {f"vm{v >> 4}" if (v >> 4) % 2 == 0 else f"vm{v >> 4}/{v & 15}": ticks
                       for v, ticks in played.running.items()}
    cpus = table(text, "CPUs")
    for cpu, asleep in enumerate(played.asleep):
        row = cpus[f"CPU {cpu}"]
        assert abs(row["asleep"] - 100 * asleep / row["recorded ticks"]) < 0.06
        assert abs(sum(row[key] for key in ("guest", "exits", "VMs", "other", "asleep")) - 100) < 0.3


def test_percentiles_and_wrapping_clock():
    """1 to 200 ticks: by nearest rank 100, 198 and 200. The low half of the clock wraps in the middle."""
    log = Log()
    log.vm(1, "hello")
    base = (7 << 32) - 100_000
    log.enter(0, base, 0x10, 30)
    for n in range(200):
        log.exit(0, base + 1000 * (n + 1), CPUID, 0x10, 1 + n * 67 % 200)
    log.event(0, base + 300_000, LEAVE, 0x10, STOPPED)
    row = table(output(log), "exits by cause")["cpuid"]
    assert row == {"count": 200, "median ticks": 100, "99 % ticks": 198, "maximum ticks": 200, "total ticks": 20100,
                   "share": 100.0}


def one_vm():
    """hello runs 100 us on CPU 0, sleeps, is woken, runs on CPU 1 and stops; 50 ticks are 1 us."""
    log = Log(cpus=2)
    log.vm(1, "hello")
    log.vm(2, "other", 2)
    log.event(0, T0, VM_START, 0x10)
    log.event(1, T0 + 100, SLEEP, detail=(1 << 64) - 1)
    log.enter(0, T0 + 1000, 0x10, 50)
    log.exit(0, T0 + 2000, CPUID, 0x10, 100, detail=0x40000000)
    log.exit(0, T0 + 5900, HLT, 0x10, 100, action=LEFT)
    log.event(0, T0 + 6000, LEAVE, 0x10, BLOCKED)
    log.event(0, T0 + 9000, WAKE, 0x10)
    log.event(0, T0 + 9010, MIGRATE, 0x10, 1)
    log.event(0, T0 + 9020, trace_log.KICK, 0, 1)
    log.event(1, T0 + 9100, trace_log.AWAKE)
    log.enter(1, T0 + 10000, 0x10, 50, action=0x31)
    log.exit(1, T0 + 12000, IO, 0x10, 200, detail=0x03F8_0008, action=SKIP)
    log.exit(1, T0 + 14900, trace_log.VMCALL, 0x10, 100, detail=5, action=LEFT)
    log.event(1, T0 + 14990, VM_STOP, 0x10, 4)
    log.event(1, T0 + 15000, LEAVE, 0x10, STOPPED)
    return log


def test_states_of_a_vcpu():
    row = table(output(one_vm()), "vCPUs")
    assert row["hello"] == {"running ticks": 10_000, "ready ticks": 2000, "blocked ticks": 3000, "exits": 4,
                            "deliveries": 1, "migrations": 1}
    assert row["other/0"]["running ticks"] == row["other/1"]["exits"] == 0
    cpu = table(output(one_vm()), "CPUs")
    assert cpu["CPU 0"]["entries"] == 2 and cpu["CPU 1"]["entries"] == 2 and cpu["CPU 1"]["deliveries"] == 1


def test_levels_of_a_guest_hypervisor():
    """The inner guest runs until it executes CPUID, with an exit before that Rootlet keeps; and then once more, with
    the scheduler between."""
    log = Log()
    log.vm(1, "kvm")
    log.vm(2, "plain")
    log.enter(0, T0, 0x10, 100)
    log.exit(0, T0 + 2000, VMLAUNCH, 0x10, 100, action=TO_INNER)
    log.exit(0, T0 + 3000, IO, 0x10, 200, detail=0x03F8_0008)
    log.exit(0, T0 + 5000, CPUID, 0x10, 300, action=TO_HYPERVISOR)
    log.exit(0, T0 + 6000, VMRESUME, 0x10, 400, action=TO_INNER)
    log.exit(0, T0 + 7000, TIMER, 0x10, 50, action=LEFT)
    log.event(0, T0 + 7060, LEAVE, 0x10, PREEMPTED)
    log.enter(0, T0 + 8000, 0x10, 100, action=TO_INNER)
    log.exit(0, T0 + 9000, HLT, 0x10, 60, action=TO_HYPERVISOR)
    log.event(0, T0 + 9500, LEAVE, 0x10, STOPPED)
    rows = table(output(log), "guest hypervisors")
    assert rows == {"kvm": {
        "inner guest ticks": 900 + 1800 + 600 + 900, "own ticks": 1900 + 700 + 440,
        "exits of inner ticks": 200 + 300 + 50 + 60, "other exits ticks": 100 + 400,
        "inner exits given": 2, "inner exits kept": 2, "other exits": 2}}
    assert "guest hypervisors" not in output(one_vm())


def test_leave_and_the_next_enter_at_the_same_time():
    """The ring of exits comes first, but the leave is the first one's."""
    log = Log()
    log.vm(1, "first")
    log.vm(2, "second")
    log.enter(0, T0, 0x10, 0)
    log.event(0, T0 + 500, LEAVE, 0x10, PREEMPTED)
    log.enter(0, T0 + 500, 0x20, 0)
    log.event(0, T0 + 900, LEAVE, 0x20, BLOCKED)
    rows = table(output(log), "vCPUs")
    first, second = rows["first"], rows["second"]
    assert (first["running ticks"], first["ready ticks"], second["running ticks"]) == (500, 400, 400)


def test_without_leave_a_run_ends_where_the_guest_was_left():
    log = Log()
    log.vm(1, "hello")
    for start in (T0, T0 + 10_000):
        log.enter(0, start, 0x10, 5)
        log.exit(0, start + 100, HLT, 0x10, 50, action=LEFT)
    text = output(log)
    assert table(text, "vCPUs")["hello"]["running ticks"] == 300 and table(text, "CPUs")["CPU 0"]["guest"] < 2.0
    assert '"away"' in output(log, "--json", "-")


def test_listing_decodes():
    lines = output(one_vm(), "--list").splitlines()
    assert [line.split(None, 1)[1] for line in lines[:6]] == [
        "cpu=0 vcpu=hello vm-start",
        "cpu=1 vcpu=- sleep (no wake-up due)",
        "cpu=0 vcpu=hello enter (for 50000 ticks) rip=0x100000 entered ticks=50",
        "cpu=0 vcpu=hello cpuid (leaf 0x40000000) rip=0x100000 skip ticks=100",
        "cpu=0 vcpu=hello hlt rip=0x100000 left ticks=100",
        "cpu=0 vcpu=hello leave (blocked)",
    ]
    assert float(lines[3].split()[0]) == 40.0
    assert "cpu=1 vcpu=hello enter (for 50000 ticks) rip=0x100000 delivered 0x31 ticks=50" in lines[10]
    assert "io (in port 0x03f8, 1 bytes)" in lines[11]
    assert "vmcall (exit)" in lines[12] and "vm-stop (exit)" in lines[13]


@pytest.mark.parametrize(
    "cause, detail, words",
    [  # encodings from SDM 3C 24.9.2 and the tables of 27.2.1, by hand
        (0, 0x8000_0B0E, "#PF"),
        (0, 0x8000_0202, "NMI"),
        (1, 0x8000_00F1, "interrupt 0xf1"),
        (18, 1, "console-write"),
        (18, 0x1234, "hypercall 0x1234"),
        (28, 0x0000_0603, "mov to cr3, rsi"),
        (28, 0x0000_0914, "mov from cr4, r9"),
        (28, 0x0000_0020, "clts"),
        (28, 0x0011_0030, "lmsw 0x0011"),
        (29, 0x0000_0317, "mov from dr7, rbx"),
        (30, 0x0cfc_0003, "out port 0x0cfc, 4 bytes"),
        (30, 0x01f0_0039, "rep ins port 0x01f0, 2 bytes"),
        (31, 0x1_0000_001B, "msr 0x1b"),
        (44, 0x0000_10B0, "write offset 0x0b0"),
        (45, 0x41, "vector 0x41"),
        (48, 0xFED0_00F0, "address 0xfed000f0"),
        (56, 0x300, "offset 0x300"),
        (132, 0x8000_0B0D, "#GP"),
        (137, 8, "triple-fault"),
        (137, 99, "99"),
        (139, 0x9F, "vector 0x9f"),
        (141, 7, "error 7"),
        (141, 0, "VMfailInvalid"),
        (12, 77, ""),  # no meaning
        (35, 1, ""),  # no such reason
        (200, 1, ""),  # of a later version
    ],
)
def test_details(cause, detail, words):
    record = trace_record.Record(T0, 0, detail, 0, 0x10, cause, 0, 0)
    assert trace_record.detail_words(record) == words
    assert record.name


def test_other_lines_are_skipped_and_guests_cannot_speak_for_the_host():
    lines = list(one_vm().lines())
    noisy = []
    for number, line in enumerate(lines):
        noisy += [line + "\r", "[hello] rootlet: trace end\r", "",
                  f"rootlet: info: vm memory name=x overhead_bytes={number}"]
        noisy += ["\x1b[2J\ufffd"]
    assert output("\n".join(noisy)) == output(one_vm())


def test_parts():
    log = one_vm()
    assert run_tool(log, "--vm", "other").returncode == 1  # it never ran
    assert table(output(log, "--cpu", 1), "exits by cause")["all"]["count"] == 2
    assert table(output(log, "--vm", "hello"), "exits by cause")["all"]["count"] == 4
    assert list(table(output(log, "--from", 0.1, "--to", 0.13), "exits by cause")) == ["hlt"]
    assert list(table(output(log, "--last", 0.03), "exits by cause")) == ["vmcall"]
    assert len(output(log, "--list", "--from", 0.1, "--to", 0.13).splitlines()) == 2


# ---- What is refused ----


def without(log, word, instead=None):
    lines = list(log.lines())
    at = next(n for n, line in enumerate(lines) if word in line)
    return "\n".join(lines[:at] + ([instead] if instead else []) + lines[at + 1 :])


@pytest.mark.parametrize(
    "text, words",
    [
        ("rootlet: boot version=0.1\n", "no trace in standard input: run with --options trace=serial"),
        ("", "no trace in standard input"),
        (without(one_vm(), "trace version"), "without their first one"),
        (without(one_vm(), "trace version", "rootlet: trace version=2 tsc_hz=1 cpus=1 record_bytes=32"),
         "use tools/trace of the tree"),
        (without(one_vm(), "trace version", "rootlet: trace version=1 tsc_hz=1 cpus=1 record_bytes=16"),
         "use tools/trace of the tree"),
        (without(one_vm(), "trace version", "rootlet: trace version=1 tsc_hz=0 cpus=1 record_bytes=32"), "is 0"),
        (without(one_vm(), "trace data"), "has 0 of its 3 records"),
        (without(one_vm(), "trace data", "rootlet: trace data=AAAA"), "a data line is damaged"),
        (without(one_vm(), "trace data", "rootlet: trace data=" + "A" * 127 + "\x07"), "a data line is damaged"),
        (without(one_vm(), "trace data", "rootlet: trace data=" + "A" * 64 + "!" + "A" * 64), "a data line is damaged"),
        (without(one_vm(), "trace ring"), "belongs to no ring"),
        (without(one_vm(), "trace ring", "rootlet: trace ring cpu=0 kind=x records=3 lost=0"), "kind=x"),
        (without(one_vm(), "trace ring", "rootlet: trace ring cpu=0 kind=exits lost=0"), "no number records="),
        (without(one_vm(), "trace ring", "rootlet: trace ring cpu=9 kind=exits records=3 lost=0"),
         "a ring of cpu=9, but there are 2 CPUs"),
        (without(one_vm(), "trace end"), "cut off before its end line"),
        ("\n".join(Log().lines()), "no virtual machine ran"),
    ],
)
def test_bad_input_is_one_line(text, words):
    result = run_tool(text)
    assert result.returncode == 1 and words in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("trace: ") and result.stdout == ""


def test_every_cut_is_noticed_and_partial_takes_what_is_good():
    lines = list(trace_log.Machine(1, until=100_000).log.lines())
    for length in range(1, len(lines)):
        text = "\n".join(lines[:length])
        assert run_tool(text).returncode == 1
        result = run_tool(text, "--partial", "--json", "-")
        if result.returncode == 0:
            assert "cut off" in result.stderr
            check_events(json.loads(result.stdout))


def test_usage():
    for arguments in (["--last", "5", "--to", "6"], ["--from", "5", "--to", "5"], ["--last", "0"],
                      ["--summary", "--list"], ["--nosuch"]):
        result = run_tool(one_vm(), *arguments)
        assert result.returncode == 2 and "usage:" in result.stderr
    for arguments, words in ((["--vm", "nosuch"], "it has hello, other"), (["--cpu", "2"], "it has 0 to 1"),
                             (["--from", "9"], "0.300 ms long"), (["--json", "/nosuch/x"], "/nosuch/x")):
        result = run_tool(one_vm(), *arguments)
        assert result.returncode == 1 and words in result.stderr and len(result.stderr.splitlines()) == 1
    command = [os.path.join(TOOLS, "trace"), "nosuch.log"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "nosuch.log" in result.stderr
    assert subprocess.run([command[0], "--help"], capture_output=True, check=False).returncode == 0


# ---- Trace Event Format ----


def check_events(document):
    """What "Trace Event Format" and Perfetto's importer of it ask for, and what our tracks promise."""
    events = document["traceEvents"]
    named = {key: {} for key in ("process_name", "thread_name")}
    for event in events:
        assert {"ph", "ts", "pid", "tid", "name"} <= event.keys() and event["ts"] >= 0, event
        assert event["ph"] in "MXisf", event
        if event["name"] in named and event["ph"] == "M":
            named[event["name"]][event["pid"], event["tid"]] = event["args"]["name"]
    threads = named["thread_name"]
    assert len({tid for _, tid in threads}) == len(threads), "a thread's number stands for two"
    assert not {tid for _, tid in threads} & {pid for pid, _ in threads}
    timed = [event for event in events if event["ph"] != "M"]
    assert [event["ts"] for event in timed] == sorted(event["ts"] for event in timed)
    open_until = {thread: [] for thread in threads}
    flows = {}
    for event in timed:
        thread = event["pid"], event["tid"]
        assert thread in threads and (event["pid"], 0) in named["process_name"], event
        stack = open_until[thread]
        start = round(event["ts"] * 1000)
        assert abs(event["ts"] * 1000 - start) < 1e-3, "a time is no whole number of nanoseconds"
        while stack and stack[-1][0] <= start and not (event["ph"] == "X" and event["dur"] == 0
                                                       and stack[-1][0] == start):
            stack.pop()
        if event["ph"] == "X":
            end = start + round(event["dur"] * 1000)
            assert event["dur"] >= 0 and (not stack or end <= stack[-1][0]), ("overlaps the one before", event)
            around = [category for end, category in stack if end > start]
            assert event["cat"] != "exit" or not around or around in (["run"], ["state"]), ("in the wrong slice", event)
            assert event["cat"] != "exit" or stack, ("an exit outside of a run", event)
            stack.append((end, event["cat"]))
        elif event["ph"] == "i":
            assert event["s"] == "t"
        else:
            flows.setdefault(event["id"], []).append(event)
    for pair in flows.values():
        assert [event["ph"] for event in pair] == ["s", "f"]
        assert pair[1]["bp"] == "e" and pair[0]["tid"] != pair[1]["tid"]
    return threads


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("hz", [50_000_000, 2_899_999_000])
def test_json_is_valid(seed, hz):
    played = trace_log.Machine(seed, hz=hz)
    document = json.loads(output(played.log, "--json", "-"))
    threads = check_events(document)
    assert sorted(threads.values()) == sorted(["CPU 0", "CPU 1"] + [f"vCPU {v & 15}" for v in played.vcpus])
    exits = [event for event in document["traceEvents"] if event.get("cat") == "exit"]
    truth = [(cause, ticks) for made in played.exits.values() for cause, ticks in made]
    assert len(exits) == 2 * len(truth)  # on the CPU's and on the vCPU's track
    assert sum(event["args"]["ticks"] for event in exits) == 2 * sum(ticks for _, ticks in truth)
    for event in exits:
        assert abs(event["dur"] - event["args"]["ticks"] * 1e6 / hz) <= 0.0011


def test_json_says_what_happened():
    events = json.loads(output(one_vm(), "--json", "-"))["traceEvents"]
    cpuid = next(event for event in events if event["name"] == "cpuid")
    assert (cpuid["ts"], cpuid["dur"]) == (40.0, 2.0)
    assert cpuid["args"] == {"rip": "0x100000", "action": "skip", "ticks": 100, "tsc": T0 + 2000,
                             "detail": "leaf 0x40000000"}
    states = [(event["name"], event["ts"], event["dur"]) for event in events if event.get("cat") == "state"]
    assert states == [("ready", 0.0, 20.0), ("running on CPU 0", 20.0, 100.0), ("blocked", 120.0, 60.0),
                      ("ready", 180.0, 20.0), ("running on CPU 1", 200.0, 100.0)]
    assert [event["ts"] for event in events if event["ph"] in "sf"] == [119.999, 200.0]
    instants = {event["name"] for event in events if event["ph"] == "i"}
    assert instants == {"vm-start", "vm-stop", "wake", "migrate", "kick"}
    assert [(event["ts"], event["dur"]) for event in events if event["name"] == "asleep"] == [(2.0, 180.0)]


def test_json_of_many_vms_is_valid():
    check_events(json.loads(output(trace_log.Machine(1, vms=24).log, "--json", "-")))


@pytest.mark.parametrize("arguments",
                         [["--from", "5", "--to", "20"], ["--last", "3.3"], ["--cpu", "1"], ["--vm", "vm3"]])
def test_parts_are_valid(arguments):
    log = trace_log.Machine(4).log
    check_events(json.loads(output(log, "--json", "-", *arguments)))
    xml.etree.ElementTree.fromstring(output(log, "--svg", "-", *arguments))


@pytest.mark.parametrize("drops", [{(0, "exits"): 300}, {(1, "events"): 200}, {(0, "events"): 150, (1, "exits"): 500}])
@pytest.mark.parametrize("seed", SEEDS)
def test_lost_records(seed, drops):
    """What is left is still in order; what is missing is said, and counts as no one's time."""
    log = trace_log.Machine(seed).log
    for (cpu, kind), count in drops.items():
        log.drop(cpu, kind, count)
    text = output(log)
    for cpu, kind in drops:
        assert f"note: cpu {cpu}: older {kind} were overwritten" in text
    for row in table(text, "CPUs").values():
        assert min(row.values()) >= 0
        assert abs(sum(row[key] for key in ("guest", "exits", "VMs", "other", "asleep")) - 100) < 0.3
    document = json.loads(output(log, "--json", "-"))
    check_events(document)
    assert all(row["ready ticks"] >= 0 and row["blocked ticks"] >= 0 for row in table(text, "vCPUs").values())
    xml.etree.ElementTree.fromstring(output(log, "--svg", "-"))


def test_lost_beginning_of_a_sleep():
    """It slept from the time on of which all is known, and after its last run."""
    log = one_vm()
    log.drop(1, "events", 1)
    sleeps = [event for event in json.loads(output(log, "--json", "-"))["traceEvents"] if event["name"] == "asleep"]
    assert sleeps == []  # the first event that is left is that it woke
    log = Log()
    log.vm(1, "hello")
    log.event(0, T0, WAKE, 0x10)
    log.enter(0, T0 + 100, 0x10, 0)
    log.exit(0, T0 + 200, HLT, 0x10, 50, action=LEFT)
    log.event(0, T0 + 250, LEAVE, 0x10, BLOCKED)
    log.event(0, T0 + 260, SLEEP)
    log.event(0, T0 + 900, trace_log.AWAKE)
    log.drop(0, "events", 3)
    events = json.loads(output(log, "--json", "-"))
    check_events(events)
    assert table(output(log), "CPUs")["CPU 0"]["asleep"] == 0


def test_a_record_without_an_end_is_not_timed():
    """The machine stopped while the last exit was handled: its end is what an older record left there."""
    log = Log()
    log.vm(1, "hello")
    log.enter(0, T0, 0x10, 10)
    log.exit(0, T0 + 100, CPUID, 0x10, 90)
    log.exit(0, T0 + 500, CPUID, 0x10, -70_000)
    text = output(log)
    row = table(text, "exits by cause")["cpuid"]
    assert row == {"count": 2, "median ticks": 90, "99 % ticks": 90, "maximum ticks": 90, "total ticks": 90,
                   "share": 100.0}
    assert "note: 1 exits have no end on record" in text
    check_events(json.loads(output(log, "--json", "-")))
    log.exit(0, T0 + 900, HLT, 0x10, 10)  # it was not the last one, after all
    log.exit(0, T0 + 2000, HLT, 0x10, 10)
    assert table(output(log), "exits by cause")["cpuid"]["count"] == 2
    check_events(json.loads(output(log, "--json", "-")))


# ---- The picture ----

SVG = "{http://www.w3.org/2000/svg}"


def svg_texts(text):
    return [element.text for element in xml.etree.ElementTree.fromstring(text).iter(f"{SVG}text")]


def test_svg_has_every_lane_and_escapes():
    log = one_vm()
    log.vms[0] = (1, "a<&b", 1)
    log.event(0, T0 + 40_000, SLEEP)  # room for the word at its end
    text = output(log, "--svg", "-", "--title", 'x & <y> "z"')
    words = svg_texts(text)
    for word in ("CPU 0", "CPU 1", "a<&b", "other/0", "other/1", 'x & <y> "z"', "exit"):
        assert word in words, words
    assert "prefers-color-scheme:dark" in text
    assert not re.search(r'(href|src)=|url\((?!#)|@import', text), "it asks for something from outside"


def test_svg_draws_where_things_are():
    """The second half of a window is one VM's: a rectangle of its colour begins in the middle."""
    log = Log()
    log.vm(1, "first")
    log.vm(2, "second")
    log.enter(0, T0, 0x10, 0)
    log.event(0, T0 + 50_000, LEAVE, 0x10, PREEMPTED)
    log.enter(0, T0 + 50_000, 0x20, 0)
    log.exit(0, T0 + 99_000, HLT, 0x20, 1000, action=LEFT)
    log.event(0, T0 + 100_000, LEAVE, 0x20, STOPPED)
    paths = xml.etree.ElementTree.fromstring(output(log, "--svg", "-")).iter(f"{SVG}path")
    lanes = [re.fullmatch(r"M(\d+) [\d.]+h(\d+)v26h-\d+z", path.get("d")) for path in paths if path.get("fill")]
    (x1, width1), (x2, width2) = [tuple(map(int, match.groups())) for match in lanes if match]
    assert abs(width1 - width2) <= 1 and x2 == x1 + width1 and x1 + width1 + width2 == 1200 - 24


def vm_work():
    """CPU 0 makes two VMs in 3 of 10 ms and ends one in another; 50 ticks are 1 us. hello runs in between."""
    log = Log()
    log.vm(1, "hello")
    log.vm(2, "second")
    log.event(0, T0, trace_log.VM_CREATE, 0, 1)
    log.event(0, T0 + 100_000, trace_log.VM_DONE, 0, 1)
    log.event(0, T0 + 100_000, VM_START, 0x10)
    log.event(0, T0 + 100_000, trace_log.VM_CREATE, 0, 2)
    log.event(0, T0 + 150_000, trace_log.VM_DONE, 0, 2)
    log.enter(0, T0 + 200_000, 0x10, 0)
    log.exit(0, T0 + 300_000, trace_log.VMCALL, 0x10, 1000, detail=5, action=trace_log.STOP)
    log.event(0, T0 + 301_000, trace_log.VM_END, 0, 1)
    log.event(0, T0 + 310_000, LEAVE, 0x10, STOPPED)
    log.event(0, T0 + 320_000, VM_STOP, 0x10, 4)
    log.event(0, T0 + 351_000, trace_log.VM_DONE, 0, 1)
    log.event(0, T0 + 499_000, SLEEP)
    log.event(0, T0 + 500_000, trace_log.AWAKE)
    return log


def test_work_on_vms_has_a_class_of_its_own():
    """Neither the guest's time, nor an exit's, nor lost among the others'."""
    row = table(output(vm_work()), "CPUs")["CPU 0"]
    assert (row["guest"], row["exits"], row["VMs"], row["asleep"]) == (20.0, 0.2, 40.0, 0.2)
    assert abs(row["other"] - 39.6) < 0.01
    assert table(output(vm_work(), "--vm", "hello"), "CPUs")["CPU 0"]["VMs"] == 30.0
    assert table(output(vm_work(), "--from", 1, "--to", 3), "CPUs")["CPU 0"]["VMs"] == 100.0
    assert table(output(vm_work()), "vCPUs")["hello"]["running ticks"] == 101_000
    assert "vm-create (VM 2)" in output(vm_work(), "--list")
    document = json.loads(output(vm_work(), "--json", "-"))
    check_events(document)
    assert [(event["name"], event["ts"], event["dur"]) for event in document["traceEvents"] if event.get("cat") == "vm"
            ] == [("creates VM hello", 0.0, 2000.0), ("creates VM second", 2000.0, 1000.0),
                  ("ends VM hello", 6020.0, 1000.0)]


def test_work_whose_end_is_lost_ends_with_what_comes_next():
    log = Log()
    log.vm(1, "hello")
    log.event(0, T0, trace_log.VM_CREATE, 0, 1)
    log.enter(0, T0 + 1000, 0x10, 0)
    log.exit(0, T0 + 3000, HLT, 0x10, 0, action=LEFT)
    log.event(0, T0 + 3000, LEAVE, 0x10, BLOCKED)
    log.event(0, T0 + 3000, trace_log.VM_END, 0, 1)
    log.event(0, T0 + 4000, SLEEP)
    log.event(0, T0 + 5000, trace_log.AWAKE)
    log.event(0, T0 + 9000, trace_log.VM_END, 0, 1)
    log.event(0, T0 + 10_000, trace_log.AWAKE)
    row = table(output(log), "CPUs")["CPU 0"]
    assert (row["guest"], row["VMs"], row["asleep"], row["other"]) == (20.0, 30.0, 10.0, 40.0)


def test_svg_shows_work_on_vms_and_says_what_is_what():
    text = output(vm_work(), "--svg", "-")
    paths = xml.etree.ElementTree.fromstring(text).iter(f"{SVG}path")
    work = [path.get("d") for path in paths if path.get("class") == "work"]
    spans = [tuple(map(int, match)) for match in re.findall(r"M(\d+) [\d.]+h(\d+)v26h-\d+z", work[0])]
    plot = 1200 - 148 - 24
    assert [(round((x - 148) / plot, 2), round(width / plot, 2)) for x, width in spans] == [(0, 0.3), (0.6, 0.1)]
    words = svg_texts(text)
    for sentence in ("the CPU creates or ends a VM", "a vCPU runs, in its VM's colour", "it waits for a CPU",
                     "since the first record", "hypercall exits"):
        assert sentence in words, words


def test_tables_name_their_units():
    heads = [line for line in output(one_vm()).splitlines() if re.match(r"(exits by cause|CPUs|vCPUs)  ", line)]
    assert [head.count(" ticks") for head in heads] == [4, 1, 3]


def test_svg_stays_small():
    """However much happens."""
    played = trace_log.Machine(5, vms=6, until=20_000_000)
    assert sum(map(len, played.exits.values())) > 10_000
    assert len(output(played.log, "--svg", "-")) < 400_000


# ---- A machine's own trace ----

RECORDED = """\
build/guests/bench.elf vm=bench mem=4M affinity=0 -- only=cpuid
build/guests/timer.elf vm=timer mem=4M affinity=1 -- ticks=5 gate=100
build/guests/smp.elf   vm=smp mem=4M cpus=2 affinity=1 -- turns=400
"""


@pytest.fixture(scope="module")
def recorded(boot):
    run = boot(RECORDED, "trace=serial", cpus=2)
    run.check_good_end()
    return run


def log_of(run):
    return "\n".join(run.lines)


def test_trace_has_every_exit_that_was_counted(recorded):
    assert "note:" not in output(log_of(recorded)), "something was lost; this run shall fit"
    for name in ("bench", "timer", "smp"):
        counted = {cause: int(n) for line in recorded.events("vm exits", name=name) for cause, n in line.items()
                   if cause != "name"}
        costs = table(output(log_of(recorded), "--vm", name), "exits by cause")
        assert {cause: row["count"] for cause, row in costs.items() if cause != "all"} == counted, name
        rows = table(output(log_of(recorded), "--vm", name), "vCPUs")
        assert sum(row["exits"] for row in rows.values()) == sum(counted.values())


def test_trace_costs_are_what_the_guest_measured(recorded):
    """The guest's two RDTSCs stand outside of the exit and the entry, the recorder's inside: it has seen less, but
    most."""
    line = next(line for line in recorded.output("bench") if line.startswith("bench cpuid "))
    measured = int(re.search(r"median=(\d+)", line).group(1))
    cost = table(output(log_of(recorded), "--vm", "bench"), "exits by cause")["cpuid"]
    assert cost["count"] >= 200 and measured / 3 < cost["median ticks"] < measured, (cost, line)


def test_trace_of_a_machine_is_valid(recorded):
    document = json.loads(output(log_of(recorded), "--json", "-"))
    threads = check_events(document)
    assert sorted(threads.values()) == ["CPU 0", "CPU 1", "vCPU 0", "vCPU 0", "vCPU 0", "vCPU 1"]
    events = document["traceEvents"]
    stops = {event["args"]["vcpu"].split("/")[0]: event["args"]["detail"] for event in events
             if event["name"] == "vm-stop"}
    assert stops == recorded.reasons()
    words = svg_texts(output(log_of(recorded), "--svg", "-"))
    assert {"bench", "timer", "smp/0", "smp/1", "CPU 0", "CPU 1"} <= set(words)


FIRST_LOAD_US = 5000  # a vCPU's VMCS is made when it first gets a CPU


def test_trace_times_are_those_of_the_statistics(recorded):
    """run_us counts from the scheduler's view: a little more than from enter to leave."""
    rows = table(output(log_of(recorded)), "vCPUs")
    for name, vcpus in (("bench", 1), ("timer", 1), ("smp", 2)):
        stats = recorded.event("vm stats", name=name)
        mine = [row for vcpu, row in rows.items() if vcpu.split("/")[0] == name]
        running_us = sum(row["running ticks"] for row in mine) / 50
        assert len(mine) == vcpus
        most = FIRST_LOAD_US * vcpus + 50 * int(stats["slices"])
        assert 0 <= int(stats["run_us"]) + 1 - running_us < most, (name, mine, stats)


def test_making_and_ending_vms_is_on_record(recorded):
    """CPU 0 makes them all, from the first record on; each is ended once, where its last vCPU was."""
    text = output(log_of(recorded))
    assert table(text, "CPUs")["CPU 0"]["VMs"] > 5, text
    lines = output(log_of(recorded), "--list").splitlines()
    first = next(line for line in lines if " cpu=0 " in line)
    assert first.split()[1:] == ["cpu=0", "vcpu=-", "vm-create", "(VM", "1)"], first
    assert [line.split(" vm-create ")[1] for line in lines if " vm-create " in line] == ["(VM 1)", "(VM 2)", "(VM 3)"]
    # Each of the four vCPUs, and each of the three VMs as a whole.
    ends = [line for line in lines if " vm-end " in line]
    assert len(ends) == 4 + 3 and len(ends) + 3 == sum(" vm-done " in line for line in lines), ends


def test_trace_has_what_the_scheduler_did(recorded):
    """timer sleeps between its ticks and nobody else wants its CPU; each block ends by a wake."""
    assert table(output(log_of(recorded)), "CPUs")["CPU 1"]["asleep"] > 1
    rows = table(output(log_of(recorded)), "vCPUs")
    for name in ("bench", "timer", "smp"):
        moves = sum(row["migrations"] for vcpu, row in rows.items() if vcpu.split("/")[0] == name)
        assert moves == int(recorded.event("vm stats", name=name)["migrations"])
    lines = output(log_of(recorded), "--list", "--vm", "timer").splitlines()
    blocks = sum("leave (blocked)" in line for line in lines)
    assert blocks >= 5 and blocks - 1 <= sum(" wake" in line for line in lines) <= blocks
    assert rows["timer"]["blocked ticks"] > 0 and "away" not in output(log_of(recorded), "--json", "-")


def test_trace_by_the_second_serial_port(boot, tmp_path):
    """The same text, and none of it on the console."""
    run = boot("build/guests/hello.elf vm=hello mem=4M\n", "trace=com2", com2=tmp_path / "com2")
    run.check_good_end()
    assert not run.events("trace"), str(run)
    counted = {cause: int(n) for cause, n in run.event("vm exits", name="hello").items() if cause != "name"}
    costs = table(output((tmp_path / "com2").read_text(), "--vm", "hello"), "exits by cause")
    assert {cause: row["count"] for cause, row in costs.items() if cause != "all"} == counted


def test_trace_without_a_second_serial_port_is_an_error(boot):
    run = boot("build/guests/hello.elf vm=hello mem=4M\n", "trace=com2")
    run.check_fail_end()
    assert any(line.startswith("error: trace=com2: no UART answers") for line in run.host_lines), str(run)
