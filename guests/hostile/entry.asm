; SPDX-License-Identifier: BSD-2-Clause
; Where vCPU 1 begins: flat 32-bit protected mode, as the loader's GDT has it; its own descriptors and stack.
bits 32

global hostile_entry
extern guest_load_gdt, hostile_main, hostile_stack

section .text
hostile_entry:
    cld
    mov esp, hostile_stack + 4096
    call guest_load_gdt
    call hostile_main
