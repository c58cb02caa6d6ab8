# SPDX-License-Identifier: BSD-2-Clause
"""Several small guests that fail at once, each in a way of its own: the console's end and the verdict name each with
its cause, and what is printed before is short."""
import os
import subprocess

import pytest

import machine

pytestmark = pytest.mark.engines

GUEST = """\
bits 32
%include "guests/include/rootlet_abi.inc"
section .text
        times {before} db 0
        dd 0x1badb002, 3, -(0x1badb002 + 3) + {wrong}
global _start, kmain
_start: mov esp, stack_top
        push ebp
        mov ebp, esp
        call kmain
        mov ebx, eax
        mov eax, ROOTLET_CALL_EXIT
        vmcall
kmain:  push ebp
        mov ebp, esp
        xor eax, eax
        {body}
        pop ebp
        ret
no_idt: dw 0
        dd 0
bad_idt: dw 0x7ff
        dd 0x40000000
gdt:    dq 0, 0x00cf9b000000ffff
gdtr:   dw 15
        dd gdt
        align 8
idt:    times 32 dw kmain - $$, 8, 0x8e00, 0x10
idtr:   dw 32 * 8 - 1
        dd idt
section .bss
        resb 4096
stack_top:
"""
# Name -> what its kmain does before EAX becomes its exit status.
BODIES = {
    "triple": "lidt [no_idt]\n ud2",
    "call": "lidt [no_idt]\n mov eax, 0x40000000\n call eax",
    "idt": "lidt [bad_idt]\n int3",
    "unready": "mov ebx, [0xfffffffc]\n int 0x40",
    "nogdt": "lidt [idtr]\n ud2",
    "stack": "lgdt [gdtr]\n lidt [idtr]\n mov esp, 0x50000000\n ud2",
    "push": "mov esp, 0x40000000\n pushad",
    "stray": "mov ebx, [0x40000000]\n mov [0x50000000], ebx",
    "seven": "mov eax, 7",
    "spin": "jmp $",
}
HEADERS = {"checksum": (0, 1), "far": (8192, 0), "odd": (2, 0)}


def build(folder, name, body="nop", before=0, wrong=0):
    source, obj, elf = (os.path.join(folder, name + end) for end in (".asm", ".o", ".elf"))
    with open(source, "w", encoding="ascii") as file:
        file.write(GUEST.format(body=body, before=before, wrong=wrong))
    subprocess.run(["nasm", "-f", "elf32", source, "-o", obj], check=True, cwd=machine.TREE)
    subprocess.run(["ld", "-m", "elf_i386", "-n", "--no-warn-rwx-segments", "-Ttext", "0x100000", "-o", elf, obj],
                   check=True)
    return elf


# Name -> what "vm fault" says.
FAULTS = {
    "triple": ("#UD", "IDT limit 0: no handler can be reached"),
    "call": ("#UD", "CS:RIP, 0x40000000, lies outside RAM; IDT limit 0: no handler can be reached"),
    "idt": ("#BP", "the IDT, at 0x40000000, lies outside RAM"),
    "unready": ("#GP", "IDTR is as at the start: the guest has loaded no IDT"),
    "nogdt": ("#UD", "GDTR is as at the start: the guest has loaded no GDT"),
    "stack": ("#UD", "the stack of the handler of #UD points outside RAM: 0x50000000"),
    "push": (None, "the stack points outside RAM: 0x40000000"),
}
REFUSED = {
    "checksum": "multiboot header at offset 0x60 has checksum 0xe4524ffc, which must be 0xe4524ffb: magic, flags and "
                "checksum add up to 0",
    "far": "multiboot header at offset 0x2060 is past the first 8 KiB of the file, where it must be: put its section "
           "first in the linker script",
    "odd": "multiboot header at offset 0x62 is not aligned to 4 bytes",
}


@pytest.fixture(scope="module", params=(1, 2))
def run(request, boot, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("failing"))
    files = {name: build(folder, name, body=body) for name, body in BODIES.items()}
    files.update({name: build(folder, name, before=before, wrong=wrong) for name, (before, wrong) in HEADERS.items()})
    lines = [f"{path} vm={name} mem=2M" + (" limit=20" if name == "spin" else "") for name, path in files.items()]
    return boot("\n".join(lines) + "\n", "nosuch=1", cpus=request.param, check=False)


def test_each_fault_is_explained(run):
    assert {fault["name"] for fault in run.events("vm fault")} == set(FAULTS), str(run)
    for name, (first, remark) in FAULTS.items():
        fault = run.event("vm fault", name=name)
        assert (fault.get("first"), fault["remark"]) == (first, remark), fault
        assert run.event("vm stop", name=name).get("first") == first, str(run)


def test_wrong_headers_are_named(run):
    assert {vm["name"]: vm["why"] for vm in run.events("vm refused")} == REFUSED


def test_strays_are_told_where_the_guest_fares_well(run):
    assert run.reasons()["stray"] == "exit" and run.event("vm stop", name="stray")["status"] == "0", str(run)
    stray = next(line for line in run.events("vm memory", name="stray") if "stray" in line)
    assert (stray["stray"], stray["first"], stray["function"]) == ("2", "0x40000000", "kmain+0x5"), stray


def test_what_led_to_it_is_short(run):
    """No records of those that exited, a handful of those that faulted. On Bochs 3.0 two faults before the last one
    exit, and go in by an event each."""
    for name in BODIES:
        records = [line for line in run.host_lines if line.startswith("last ") and f" vm={name} " in line]
        assert len(records) <= 12 and bool(records) == (name in FAULTS), records
    assert [line for line in run.host_lines if " vm=call " in line and line.endswith("info=0x80000306 event=#UD")]


def test_the_end_names_each_failure(run):
    run.check_fail_end()
    failed = run.events("failed")
    assert failed[0]["option"].startswith("unknown key 'nosuch='; known keys: log="), str(run)
    assert {one["vm"]: one["refused"] for one in failed if "refused" in one} == REFUSED
    ended = {one["vm"]: one for one in failed if "reason" in one}
    assert set(ended) == set(FAULTS) | {"seven"}, str(run)
    assert {name: end.get("remark") for name, end in ended.items() if name != "seven"} == {
        name: remark for name, (_, remark) in FAULTS.items()}
    assert ended["seven"]["status"] == "7" and ended["triple"]["function"] == "kmain+0xc", str(run)
    verdict = run.verdict.splitlines()[-1]
    for words in ("FAIL: option refused: unknown key 'nosuch='; checksum: refused: multiboot header at offset 0x60 ",
                  "; triple: triple-fault in kmain+0xc; call: triple-fault called from kmain+0x13; ",
                  "; push: unsupported-instruction in kmain+0xa; seven: exit status 7"):
        assert words in verdict, verdict
