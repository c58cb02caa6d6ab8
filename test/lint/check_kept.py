#!/usr/bin/env python3
"""The compiled exit path leaves the guest's registers alone that stay in the CPU over an exit (vmx/entry.asm, vmx/kept.h).

run.c enters the guest again without returning, so nothing may give back what it used: it must not name RBX, RBP or R12-R15 at all,
nor write where vmx_enter_guest keeps its argument. exit.c and cpuid.c move RBX on purpose, in these functions only.
"""
import re
import subprocess
import sys

KEPT = re.compile(r"%(?:[re]?b[xp]|b[lh]|bpl|r1[2-5][dwb]?)\b")
RBX = re.compile(r"%(?:[re]?bx|b[lh])\b")
MOVES_RBX = {
    "build/vmx/exit.c.o": {"vmcall_exit"},
    "build/vmx/cpuid.c.o": {"vmx_cpuid_exit", "answer_computed"},
}


def functions(path):
    """Name and instructions of each function, parts that GCC split off under their function's name."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], check=True, capture_output=True, text=True).stdout
    for part in re.split(r"\n(?=[0-9a-f]+ <)", text):
        head = re.match(r"[0-9a-f]+ <([^.>]+)", part)
        if head:
            yield head.group(1), part.splitlines()[1:]


def main():
    bad = []
    seen = 0
    for name, lines in functions("build/vmx/run.c.o"):
        seen += name == "vmx_after_exit"
        bad += [f"vmx/run.c: {name} uses a kept register:{line}" for line in lines if KEPT.search(line)]
        if name == "vmx_after_exit":
            bad += [f"vmx/run.c: {name} writes over its argument:{line}" for line in lines
                    if re.search(r"mov\S*\s+\S+,0x(8|10|18)\(%rsp\)", line)]
    for path, allowed in MOVES_RBX.items():
        for name, lines in functions(path):
            uses = [line for line in lines if RBX.search(line)]
            seen += bool(uses)
            # CPUID itself needs RBX and gives it back.
            if uses and name not in allowed and not any(re.search(r"\bcpuid\b", line) for line in lines):
                bad.append(f"{path}: {name} uses RBX:{uses[0]}")
    if seen < 3:
        bad.append("the exit path's functions were not found: run make")
    print("\n".join(bad))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
