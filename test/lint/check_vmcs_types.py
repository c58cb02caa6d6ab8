#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A wrong use of a VMCS field must not compile (vmx/fields.h, vmx/vmcs.h). Exits with 1 and names each that does.

usage: test/lint/check_vmcs_types.py
"""
import os
import re
import subprocess
import sys

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FLAGS = ["-std=gnu11", "-ffreestanding", "-mgeneral-regs-only", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-I.",
         "-fsyntax-only"]
HEADER = '#include "vmx/vmcs.h"\n'
# A wrong use must fail for what it is, not for a slip of the snippet's pen.
REASONS = re.compile("static assertion failed|_Generic|-Wconversion|-Werror=conversion"
                     "|incompatible type|makes integer from")

RIGHT = {
    "write each width": "void f(u16 a, u32 b, u64 c); void f(u16 a, u32 b, u64 c) { vmcs_write(VPID, a); "
    "vmcs_write(PROC_CONTROLS, b); vmcs_write(TSC_OFFSET, c); vmcs_write(GUEST_RIP, c); }",
    "read each width": "u64 f(void); u64 f(void) { u16 a = vmcs_read(VPID); u32 b = vmcs_read(EXIT_REASON); "
    "u64 c = vmcs_read(GUEST_PHYSICAL_ADDRESS); u64 d = vmcs_read(EXIT_QUALIFICATION); return a + b + c + d; }",
    "a row of each kind": "VMCS_DEFINE_FIELD(A16, 0x0802, 16, rw) VMCS_DEFINE_FIELD(A64, 0x2400, 64, ro) "
    "VMCS_DEFINE_FIELD(A32, 0x4402, 32, ro) VMCS_DEFINE_FIELD(ANAT, 0x6800, nat, rw) "
    "u32 f(void); u32 f(void) { return A16.encoding + A64.encoding + A32.encoding + ANAT.encoding; }",
}
USE_OF_A = "const void *f(void); const void *f(void) { return &A; }"
WRONG = {
    "a write to a read-only 32-bit field": "void f(void); void f(void) { vmcs_write(EXIT_REASON, 0); }",
    "a write to a read-only 64-bit field": "void f(void); void f(void) { vmcs_write(GUEST_PHYSICAL_ADDRESS, 0); }",
    "a write to a read-only natural field": "void f(void); void f(void) { vmcs_write(EXIT_QUALIFICATION, 0); }",
    "a 64-bit value into a 32-bit field": "void f(u64 v); void f(u64 v) { vmcs_write(PROC_CONTROLS, v); }",
    "a 32-bit value into a 16-bit field": "void f(u32 v); void f(u32 v) { vmcs_write(GUEST_CS_SELECTOR, v); }",
    "a 64-bit field read into 32 bits": "u32 f(void); u32 f(void) { u32 v = vmcs_read(TSC_OFFSET); return v; }",
    "a natural field read into 32 bits": "u32 f(void); u32 f(void) { u32 v = vmcs_read(GUEST_CR0); return v; }",
    "an address where a value is meant": "void f(hpa_t a); void f(hpa_t a) { vmcs_write(EPT_POINTER, a); }",
    "a number instead of a field": "u64 f(void); u64 f(void) { return vmcs_read(0x681e); }",
    "a row whose width is not the encoding's": "VMCS_DEFINE_FIELD(A, 0x4402, 64, ro)\n" + USE_OF_A,
    "a natural row with a 64-bit encoding": "VMCS_DEFINE_FIELD(A, 0x2010, nat, rw)\n" + USE_OF_A,
    "a read-only row that calls itself writable": "VMCS_DEFINE_FIELD(A, 0x4402, 32, rw)\n" + USE_OF_A,
    "a writable row that calls itself read-only": "VMCS_DEFINE_FIELD(A, 0x4002, 32, ro)\n" + USE_OF_A,
}


def compiles(text):
    result = subprocess.run(["gcc", "-x", "c", "-"] + FLAGS, input=HEADER + text + "\n", text=True, capture_output=True,
                            check=False)
    return result.returncode == 0, result.stderr


def main():
    os.chdir(TREE)
    # The table defines 150 fields that one snippet does not use.
    FLAGS.append("-Wno-unused-const-variable")
    broken = []
    for what, text in RIGHT.items():
        good, output = compiles(text)
        if not good:
            broken.append(f"does not compile, but should: {what}\n{output}")
    for what, text in WRONG.items():
        good, output = compiles(text)
        if good or not REASONS.search(output):
            broken.append(f"compiles, but should not: {what}" if good else
                          f"fails for another reason: {what}\n{output}")
    print("\n".join(broken) if broken else f"{len(RIGHT)} right and {len(WRONG)} wrong uses of VMCS fields")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
