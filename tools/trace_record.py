# SPDX-License-Identifier: BSD-2-Clause
"""The flight recorder's records (docs/trace.md): from the text on a serial console to decoded values.

The tables here are those of vmx/exit/exit.c, kernel/trace/trace.h and kernel/vm/vm.h; test/bochs/test_trace.py compares
them.
"""
import base64
import binascii
import collections
import re
import struct

VERSION = 1
RECORD_BYTES = 32
RECORD = struct.Struct("<QQQIHBB")
RINGS = ("exits", "events")

EXIT_NAMES = {
    0: "exception-or-nmi", 1: "external-interrupt", 2: "triple-fault", 3: "init", 4: "sipi", 5: "io-smi",
    6: "other-smi",
    7: "interrupt-window", 8: "nmi-window", 9: "task-switch", 10: "cpuid", 11: "getsec", 12: "hlt", 13: "invd",
    14: "invlpg", 15: "rdpmc", 16: "rdtsc", 17: "rsm", 18: "vmcall", 19: "vmclear", 20: "vmlaunch", 21: "vmptrld",
    22: "vmptrst", 23: "vmread", 24: "vmresume", 25: "vmwrite", 26: "vmxoff", 27: "vmxon", 28: "cr-access",
    29: "mov-dr", 30: "io", 31: "rdmsr", 32: "wrmsr", 33: "invalid-guest-state", 34: "msr-loading", 36: "mwait",
    37: "monitor-trap-flag", 39: "monitor", 40: "pause", 41: "entry-machine-check", 43: "tpr-below-threshold",
    44: "apic-access", 45: "virtualized-eoi", 46: "gdtr-or-idtr", 47: "ldtr-or-tr", 48: "ept-violation",
    49: "ept-misconfiguration", 50: "invept", 51: "rdtscp", 52: "preemption-timer", 53: "invvpid", 54: "wbinvd",
    55: "xsetbv", 56: "apic-write", 57: "rdrand", 58: "invpcid", 59: "vmfunc", 60: "encls", 61: "rdseed",
    62: "page-modification-log-full", 63: "xsaves", 64: "xrstors",
}

FIRST_EVENT = 128
(ENTER, LEAVE, WAKE, MIGRATE, INJECT, KICK, SLEEP, AWAKE, VM_START, VM_STOP,
 INIT, SIPI, NMI, ENTRY_FAILED, VM_CREATE, VM_END, VM_DONE) = range(FIRST_EVENT, 145)
EVENT_NAMES = {
    ENTER: "enter", LEAVE: "leave", WAKE: "wake", MIGRATE: "migrate", INJECT: "inject", KICK: "kick", SLEEP: "sleep",
    AWAKE: "awake", VM_START: "vm-start", VM_STOP: "vm-stop", INIT: "init", SIPI: "sipi", NMI: "nmi",
    ENTRY_FAILED: "entry-failed", VM_CREATE: "vm-create", VM_END: "vm-end", VM_DONE: "vm-done",
}

SKIP, RESUME, SKIP_DECODED, STOP, LEFT, DELIVER_LOW, TO_INNER, TO_HYPERVISOR = range(8)
ACTION_NAMES = {SKIP: "skip", RESUME: "resume", SKIP_DECODED: "skip-decoded", STOP: "stop", LEFT: "left",
                DELIVER_LOW: "deliver-low", TO_INNER: "to-inner", TO_HYPERVISOR: "to-hypervisor"}
FIRST_VECTOR = 16

LEAVE_NAMES = ("preempted", "blocked", "stopped")
STOP_NAMES = ("running", "poweroff", "reset", "halt", "exit", "limit", "killed", "watchdog", "triple-fault",
              "entry-failure", "unknown-exit", "unsupported-instruction", "no-memory")

VECTOR_NAMES = ("#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP", "#PF",
                "15", "#MF", "#AC", "#MC", "#XM", "#VE", "#CP")
EVENT_TYPES = ("interrupt", "type 1", "NMI", "exception", "software interrupt", "INT1", "INT3 or INTO", "other event")
# From guests/include/rootlet_abi.h, by number.
HYPERCALLS = ("version", "console-write", "yield", "clock", "sleep-until", "exit", "identity", "start-vcpu", "snapshot",
              "restore", "refusal")
CR_ACCESS_TYPES = ("mov to", "mov from", "clts", "lmsw")
GPR_NAMES = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
             "r15")
APIC_ACCESS_TYPES = {0: "read", 1: "write", 2: "fetch", 3: "event delivery", 10: "event delivery", 15: "fetch"}


class TraceError(Exception):
    """What is wrong with the input, and what to do about it, in one line."""


class Record(collections.namedtuple("Record", "tsc rip detail entry_tsc vcpu cause action cpu")):
    """One record with the CPU that wrote it. vcpu is the number of docs/trace.md: VM times 16 plus index."""

    __slots__ = ()

    @property
    def is_exit(self):
        return self.cause < FIRST_EVENT

    @property
    def vm(self):
        return self.vcpu >> 4

    @property
    def index(self):
        return self.vcpu & 15

    @property
    def ticks(self):
        """From the exit to the entry that followed, or until the guest was left. Both are halves of the same
        counter."""
        return (self.entry_tsc - self.tsc) & 0xFFFFFFFF

    @property
    def name(self):
        if self.is_exit:
            return EXIT_NAMES.get(self.cause, f"exit-{self.cause}")
        return EVENT_NAMES.get(self.cause, f"event-{self.cause}")


Ring = collections.namedtuple("Ring", "cpu kind lost records")


class Trace:
    """A whole recording: tsc_hz, number of CPUs, VMs (number -> (name, vCPUs)), rings."""

    def __init__(self, tsc_hz, cpus):
        self.tsc_hz, self.cpus, self.vms, self.rings = tsc_hz, cpus, {}, []
        self.warnings = []

    def vm_name(self, vm):
        return self.vms[vm][0] if vm in self.vms else f"vm{vm}"

    def vcpu_name(self, vcpu):
        """The VM's name; with the index if the VM has several vCPUs."""
        vm, index = vcpu >> 4, vcpu & 15
        alone = vm in self.vms and self.vms[vm][1] == 1
        return self.vm_name(vm) if alone else f"{self.vm_name(vm)}/{index}"

    def records(self):
        """Those of all rings in order of time. Within a ring the order is the order of writing."""
        return sorted((record for ring in self.rings for record in ring.records), key=lambda record: record.tsc)


# ---- Words for a record ----


def event_words(info):
    """Interruption information. SDM 3C 24.9.2 "Information for VM Exits Due to Vectored Events"."""
    if not info & 1 << 31:
        return "none"
    vector, kind = info & 255, info >> 8 & 7
    if kind in (3, 5, 6) and vector < len(VECTOR_NAMES):
        return VECTOR_NAMES[vector]
    return "NMI" if kind == 2 else f"{EVENT_TYPES[kind]} 0x{vector:02x}"


def cr_words(qualification):
    """SDM 3C 27.2.1, table "Exit Qualification for Control-Register Accesses"."""
    access = CR_ACCESS_TYPES[qualification >> 4 & 3]
    if access.startswith("mov"):
        return f"{access} cr{qualification & 15}, {GPR_NAMES[qualification >> 8 & 15]}"
    return access if access == "clts" else f"lmsw 0x{qualification >> 16 & 0xffff:04x}"


def dr_words(qualification):
    direction = "from" if qualification & 16 else "to"
    return f"mov {direction} dr{qualification & 7}, {GPR_NAMES[qualification >> 8 & 15]}"


def io_words(qualification):
    """SDM 3C 27.2.1, table "Exit Qualification for I/O Instructions"."""
    word = ("rep " if qualification & 32 else "") + ("in" if qualification & 8 else "out")
    word += "s" if qualification & 16 else ""
    return f"{word} port 0x{qualification >> 16 & 0xffff:04x}, {(qualification & 7) + 1} bytes"


def apic_access_words(qualification):
    return f"{APIC_ACCESS_TYPES.get(qualification >> 12 & 15, 'access')} offset 0x{qualification & 0xfff:03x}"


def hypercall_words(number):
    number &= 0xFFFFFFFF
    return HYPERCALLS[number] if number < len(HYPERCALLS) else f"hypercall 0x{number:x}"


def listed(names, number):
    return names[number] if number < len(names) else str(number)


# How a detail is said, by name: site/trace/record.js has the same names.
FORMS = {
    "event": event_words,
    "hypercall": hypercall_words,
    "cr": cr_words,
    "dr": dr_words,
    "io": io_words,
    "apic-access": apic_access_words,
    "leaf": lambda leaf: f"leaf 0x{leaf & 0xffffffff:x}",
    "msr": lambda index: f"msr 0x{index & 0xffffffff:x}",
    "qualification": lambda qualification: f"qualification 0x{qualification:x}",
    "vector": lambda vector: f"vector 0x{vector & 255:02x}",
    "address": lambda address: f"address 0x{address:x}",
    "offset": lambda qualification: f"offset 0x{qualification & 0xfff:03x}",
    "limit": lambda ticks: f"for {ticks} ticks" if ticks < 1 << 63 else "without a limit",
    "leave": lambda why: listed(LEAVE_NAMES, why),
    "to-cpu": lambda cpu: f"to CPU {cpu}",
    "cpu": lambda cpu: f"CPU {cpu}",
    "wake-up": lambda tsc: "no wake-up due" if tsc == (1 << 64) - 1 else f"until tsc {tsc}",
    "stop": lambda reason: listed(STOP_NAMES, reason),
    "vm": lambda number: f"VM {number}",
    "error": lambda error: f"error {error}" if error else "VMfailInvalid",
}
DETAIL_FORMS = {
    0: "event", 1: "event", 10: "leaf", 18: "hypercall", 28: "cr", 29: "dr", 30: "io", 31: "msr", 32: "msr",
    33: "qualification", 34: "qualification", 44: "apic-access", 45: "vector", 48: "address", 56: "offset",
    ENTER: "limit", LEAVE: "leave", MIGRATE: "to-cpu", INJECT: "event", KICK: "cpu", SLEEP: "wake-up", VM_STOP: "stop",
    SIPI: "vector", ENTRY_FAILED: "error", VM_CREATE: "vm", VM_END: "vm", VM_DONE: "vm",
}


def detail_words(record):
    """The detail decoded; empty if the cause has none."""
    form = DETAIL_FORMS.get(record.cause)
    return FORMS[form](record.detail) if form else ""


def action_words(record):
    if record.action >= FIRST_VECTOR:
        return f"delivered 0x{record.action:02x}"
    if record.cause == ENTER:
        return "left" if record.action == LEFT else "entered"
    return ACTION_NAMES.get(record.action, f"action {record.action}")


def words(trace, record):
    """One line of the listing, without the time."""
    text = f"cpu={record.cpu} vcpu={trace.vcpu_name(record.vcpu) if record.vcpu else '-'} {record.name}"
    detail = detail_words(record)
    text += f" ({detail})" if detail else ""
    if record.is_exit or record.cause == ENTER:
        text += f" rip=0x{record.rip:x} {action_words(record)} ticks={record.ticks}"
    return text


def description():
    """The record's layout and all tables, for programs in another language: site/trace/ has its own from here."""
    names = Record._fields[:-1]  # the CPU is the ring's
    sizes = [struct.calcsize("<" + kind) for kind in RECORD.format.lstrip("<")]
    return {
        "version": VERSION, "record_bytes": RECORD_BYTES, "fields": list(zip(names, sizes)), "rings": RINGS,
        "first_event": FIRST_EVENT, "first_vector": FIRST_VECTOR, "exit_names": EXIT_NAMES, "event_names": EVENT_NAMES,
        "action_names": ACTION_NAMES, "leave_names": LEAVE_NAMES, "stop_names": STOP_NAMES,
        "vector_names": VECTOR_NAMES, "event_types": EVENT_TYPES, "hypercalls": HYPERCALLS,
        "cr_access_types": CR_ACCESS_TYPES, "gpr_names": GPR_NAMES, "apic_access_types": APIC_ACCESS_TYPES,
        "detail_forms": DETAIL_FORMS,
    }


# ---- The text form ----

LINE = re.compile(r"rootlet: (?:info: )?trace (version|vm|ring|data|end)\b *=?(.*)")
PAIR = re.compile(r"(\w+)=(\S+)")
HEAD = ("version", "tsc_hz", "cpus", "record_bytes")


class Reader:
    """Takes the trace lines out of a serial console's text, which may have other lines between them."""

    def __init__(self, name, partial):
        self.name, self.partial, self.trace, self.ended = name, partial, None, False
        self.record_bytes, self.ring, self.data = RECORD_BYTES, None, b""

    def fail(self, number, what):
        raise TraceError(f"{self.name}:{number}: {what}; "
                         "take the log of the whole run again, or --partial for what is good")

    def numbers(self, number, text, *keys):
        pairs = dict(PAIR.findall(text))
        missing = [key for key in keys if not pairs.get(key, "").isdigit()]
        if missing:
            self.fail(number, f"this trace line has no number {missing[0]}=")
        return [int(pairs[key]) for key in keys]

    def take_version(self, number, text):
        version, tsc_hz, cpus, self.record_bytes = self.numbers(number, "version" + "=" + text, *HEAD)
        if version != VERSION or self.record_bytes < RECORD_BYTES:
            raise TraceError(f"{self.name}:{number}: a trace of version {version}, {self.record_bytes} bytes a record; "
                             f"this tool "
                             f"reads version {VERSION}: use tools/trace of the tree that the hypervisor was built from")
        if not tsc_hz or not cpus:
            self.fail(number, "tsc_hz or cpus is 0")
        again = self.trace is not None
        self.trace, self.ended, self.ring = Trace(tsc_hz, cpus), False, None
        if again:
            self.trace.warnings.append("several traces in the input: the last one counts")

    def take_vm(self, number, text):
        vm, cpus = self.numbers(number, text, "id", "cpus")
        self.trace.vms[vm] = (dict(PAIR.findall(text)).get("name", f"vm{vm}"), cpus)

    def take_ring(self, number, text):
        self.close_ring(number)
        cpu, count = self.numbers(number, text, "cpu", "records")
        pairs = dict(PAIR.findall(text))
        kind, lost = pairs.get("kind"), pairs.get("lost", "0") != "0"
        if kind not in RINGS:
            self.fail(number, f"a ring of kind={kind}, expected {' or '.join(RINGS)}")
        if cpu >= self.trace.cpus:
            self.fail(number, f"a ring of cpu={cpu}, but there are {self.trace.cpus} CPUs")
        self.ring, self.data = (cpu, kind, lost, count), b""

    def take_data(self, number, text):
        if not self.ring:
            self.fail(number, "a data line that belongs to no ring")
        try:
            data = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            data = b"?"
        if not data or len(data) % self.record_bytes:
            if not self.partial:
                self.fail(number, "a data line is damaged")
            self.trace.warnings.append(f"line {number} is damaged: its records are missing")
            return
        self.data += data

    def close_ring(self, number):
        """The ring that was read is whole, or it is said what is missing."""
        if not self.ring:
            return
        cpu, kind, lost, count = self.ring
        size = self.record_bytes
        records = [Record(*RECORD.unpack_from(self.data, at), cpu) for at in range(0, len(self.data), size)]
        if len(records) != count:
            what = f"ring cpu={cpu} kind={kind} has {len(records)} of its {count} records"
            if not self.partial:
                self.fail(number, what)
            self.trace.warnings.append(what)
        self.trace.rings.append(Ring(cpu, kind, lost, records))
        self.ring = None

    def take_end(self, number, _text):
        self.close_ring(number)
        self.ended = True

    def read(self, lines):
        number = 0
        for number, line in enumerate(lines, 1):
            match = LINE.match(line.rstrip("\r\n"))
            if not match:
                continue
            kind, text = match.groups()
            if kind != "version" and (self.trace is None or self.ended):
                self.fail(number, "trace lines without their first one, rootlet: trace version=")
            getattr(self, f"take_{kind}")(number, text)
        if self.trace is None:
            raise TraceError(f"no trace in {self.name}: run with --options trace=serial "
                             "and give the serial console's log")
        if not self.ended:
            if not self.partial:
                self.fail(number, "the trace is cut off before its end line")
            self.close_ring(number)
            self.trace.warnings.append("the trace is cut off before its end line")
        return self.trace


def read(lines, name="the input", partial=False):
    """The trace in these lines. Raises TraceError if there is none, or not a whole one and partial is not set."""
    trace = Reader(name, partial).read(lines)
    if not any(ring.records for ring in trace.rings):
        raise TraceError(f"the trace in {name} has no records: no virtual machine ran")
    for ring in trace.rings:
        if ring.lost:
            trace.warnings.append(f"cpu {ring.cpu}: older {ring.kind} were overwritten, "
                                  f"the last {len(ring.records)} are here")
    return trace
