# SPDX-License-Identifier: BSD-2-Clause
"""GDB commands for a running, or dumped, Rootlet: gdb build/rootlet.elf -x tools/gdb/rootlet.py

rootlet-vms      each VM: state, memory, entries
rootlet-vcpus    each vCPU: state, CPU, requests, run time and its most frequent exits; rootlet-vcpus NAME: one VM's

They read the hypervisor's own structures by its debug information, so the ELF file must be the one that runs.
"""
import gdb  # pylint: disable=import-error

REQUESTS = ("EVENT", "RESCHEDULE", "DEADLINE", "HALT", "INIT")  # kernel/vm/vcpu.h, from bit 0 on
TOP_EXITS = 3


def evaluate(expression):
    return gdb.parse_and_eval(expression)


def virtual_machines():
    life = evaluate("lives")
    while life:
        if life["vm"]:
            yield life["vm"]
        life = life["next"]


def name_of(vm):
    return vm["spec"]["name"].string()


def word(value, prefix):
    """An enumerator without its prefix, in lower case: VM_STOP_TRIPLE_FAULT is triple-fault."""
    text = str(value)
    return (text[len(prefix) :] if text.startswith(prefix) else text).lower().replace("_", "-")


def state_of(vm):
    reason = word(vm["reason"], "VM_STOP_")
    if reason == "vm-running":
        return "running"
    return ("stopping " if int(vm["vcpus_live"]) else "stopped ") + reason


def vmx_half(vcpu):
    """The struct vmx_vcpu that contains a struct vcpu."""
    whole = gdb.lookup_type("struct vmx_vcpu")
    offset = next(field.bitpos // 8 for field in whole.fields() if field.name == "base")
    return (vcpu.cast(gdb.lookup_type("unsigned long")) - offset).cast(whole.pointer())


def requests_of(vcpu):
    bits = int(vcpu["requests"])
    return "|".join(name for bit, name in enumerate(REQUESTS) if bits >> bit & 1) or "-"


def exit_name(reason):
    try:
        return evaluate(f"'vmx/exit/exit.c'::exits[{reason}].name").string()
    except gdb.error:
        return str(reason)


def exits_of(vcpu):
    counts = vmx_half(vcpu)["exits"]
    low, high = counts.type.range()
    found = sorted(((int(counts[i]), i) for i in range(low, high + 1)), reverse=True)
    return sum(count for count, _ in found), [f"{exit_name(i)}={count}" for count, i in found[:TOP_EXITS] if count]


def milliseconds(ticks):
    try:
        hz = int(evaluate("'kernel/clock.c'::tsc_hz"))
    except gdb.error:
        hz = 0
    return f"{int(ticks) * 1000 / hz:.1f} ms" if hz else f"{int(ticks)} ticks"


def vcpu_row(vm, index):
    vcpu = vm["vcpus"][index]
    if not vcpu:
        return [name_of(vm), str(index), "not made yet"]
    home = int(vcpu["home_cpu"])
    total, top = exits_of(vcpu)
    started = int(vcpu["started"]) and word(vcpu["state"], "VCPU_")
    return [name_of(vm), str(index), started or "not started", "-" if home == 0xFFFFFFFF else str(home),
            requests_of(vcpu), milliseconds(vcpu["run_tsc"]), str(total), " ".join(top)]


def print_table(head, rows):
    rows = [head] + rows
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(head))]
    for row in rows:
        gdb.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() + "\n")


class Vms(gdb.Command):
    """Lists the virtual machines of a Rootlet that is being debugged."""

    def __init__(self):
        super().__init__("rootlet-vms", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        rows = [[name_of(vm), word(vm["spec"]["kind"], "IMAGE_"), f"{int(vm['spec']['mem_bytes']) >> 10} KiB",
                 str(int(vm["spec"]["cpus"])), str(int(vm["vcpus_live"])), state_of(vm)] for vm in virtual_machines()]
        if rows:
            print_table(["vm", "kind", "memory", "vcpus", "live", "state"], rows)
        else:
            gdb.write("no VM: none has been made yet, or all are gone\n")


class Vcpus(gdb.Command):
    """Lists the virtual CPUs of a Rootlet that is being debugged: rootlet-vcpus [VM]."""

    def __init__(self):
        super().__init__("rootlet-vcpus", gdb.COMMAND_STATUS)

    def complete(self, text, _word):
        return [name_of(vm) for vm in virtual_machines() if name_of(vm).startswith(text)]

    def invoke(self, argument, from_tty):
        wanted = argument.strip()
        rows = [vcpu_row(vm, i) for vm in virtual_machines() if wanted in ("", name_of(vm))
                for i in range(int(vm["spec"]["cpus"]))]
        if rows:
            print_table(["vm", "vcpu", "state", "cpu", "requests", "run", "exits", "most of them"], rows)
        elif wanted:
            raise gdb.GdbError(f"no VM is called {wanted}; rootlet-vms lists them")
        else:
            gdb.write("no vCPU: no VM has been made yet, or all are gone\n")


Vms()
Vcpus()
