#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Lines have a width: pages 100 columns, code and makefiles 120. Prints each line that is wider.

Free is what cannot be broken. In pages that is rows of tables, code blocks, headings, and lines that are wide only by
the target of a link. In code it is lines with a URL, and tables of data in C, which clang-format aligns: a line that
begins with "{" or "[" and ends with "," or "}". WIDE names the files that do not keep to it yet; it is to be emptied.

usage: check_width.py [tree]
"""
import os
import re
import subprocess
import sys

PAGE_COLUMNS, CODE_COLUMNS = 100, 120
CODE = (".c", ".h", ".asm", ".inc", ".ld", ".asl", ".py", ".mk", ".gdb", ".vms")
TAB_COLUMNS = 8
WIDE = {
    "Makefile",
    "arch/x86/trap.asm",
    "arch/x86/xsave_check.asm",
    "boot/entry.asm",
    "boot/tables.asm",
    "guests/apic/entry.asm",
    "guests/badstate/tricks.asm",
    "guests/bench/latency.asm",
    "guests/benchapic/latency.asm",
    "guests/bootsector/bootsector.asm",
    "guests/compute/vectors.asm",
    "guests/containment.vms",
    "guests/guests.mk",
    "guests/include/rootlet_abi.inc",
    "guests/lib/link.ld",
    "guests/lib/start.asm",
    "guests/lib/vectors.asm",
    "guests/linux/init",
    "guests/linux/init-bench",
    "guests/long64/entry.asm",
    "guests/long64/task.asm",
    "guests/smp/entry.asm",
    "guests/trace.vms",
    "kernel.mk",
    "kernel/vm/dsdt.asl",
    "linker.ld",
    "test/battery/enter.asm",
    "test/bochs/conftest.py",
    "test/bochs/machine.py",
    "test/bochs/test_apic.py",
    "test/bochs/test_battery.py",
    "test/bochs/test_caps.py",
    "test/bochs/test_containment.py",
    "test/bochs/test_debug.py",
    "test/bochs/test_demo.py",
    "test/bochs/test_fetch.py",
    "test/bochs/test_firmware.py",
    "test/bochs/test_gdb.py",
    "test/bochs/test_gdb_hypervisor.py",
    "test/bochs/test_input.py",
    "test/bochs/test_linux.py",
    "test/bochs/test_models.py",
    "test/bochs/test_panic.py",
    "test/bochs/test_payloads.py",
    "test/bochs/test_sched.py",
    "test/bochs/test_tools.py",
    "test/bochs/test_trace.py",
    "test/bochs/trace_log.py",
    "test/lint/check_abi.py",
    "test/lint/check_cpuid.py",
    "test/lint/check_sdm_map.py",
    "test/lint/check_vmcs_types.py",
    "test/lint/lint",
    "test/rules",
    "test/run",
    "test/soak",
    "test/test.mk",
    "test/unit/kernel/gdb/test_gdb.c",
    "test/unit/kernel/vm/test_vm_spec.c",
    "tools/battery",
    "tools/bench",
    "tools/bench_linux.py",
    "tools/engine.py",
    "tools/explain",
    "tools/fetch-engine",
    "tools/fetch-payloads",
    "tools/gdb/rootlet.py",
    "tools/image-size",
    "tools/mkiso",
    "tools/run-bochs",
    "tools/run-qemu",
    "tools/runner.py",
    "tools/symbolize",
    "tools/symbols.py",
    "tools/trace",
    "tools/trace_json.py",
    "tools/trace_model.py",
    "tools/trace_record.py",
    "tools/trace_summary.py",
    "tools/trace_svg.py",
    "tools/vmx-caps",
    "vmx/insn/decode.c",
    "vmx/entry.asm",
}


def page_lines(lines):
    fenced = False
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced and not re.match(r"\||#|    ", line) and "http" not in line:
            yield number, re.sub(r"\]\([^)]*\)", "]", line), PAGE_COLUMNS


def code_lines(lines):
    for number, line in enumerate(lines, 1):
        if "://" not in line and not re.match(r"\s*[{\[].*[,}](?: /\*.*\*/)?$", line):
            yield number, line.expandtabs(TAB_COLUMNS), CODE_COLUMNS


def kind(path, lines):
    if path.endswith(".md"):
        return page_lines
    script = lines and lines[0].startswith("#!") and not os.path.splitext(path)[1]
    return code_lines if path.endswith(CODE) or os.path.basename(path) == "Makefile" or script else None


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    tree = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.dirname(here))
    command = ["git", "-C", tree, "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    wrong = []
    for path in sorted(listed.stdout.splitlines()):
        try:
            with open(os.path.join(tree, path), encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            continue
        rule = kind(path, lines)
        measured = rule(lines) if rule else ()
        wide = [(number, len(line), most) for number, line, most in measured if len(line) > most]
        if path not in WIDE:
            wrong += [f"{path}:{number}: {columns} columns, at most {most}" for number, columns, most in wide]
        elif not wide:
            wrong.append(f"test/lint/check_width.py: {path} keeps to the width now: take it out of WIDE")
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
