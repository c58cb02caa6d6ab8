; SPDX-License-Identifier: BSD-2-Clause
; Where vCPU 1 begins: flat 32-bit protected mode, as the loader's GDT has it; its own descriptors and stack.
bits 32

global handover_entry
extern guest_load_gdt, handover_second, handover_stack

section .text
handover_entry:
    cld
    mov esp, handover_stack + 4096
    call guest_load_gdt
    call handover_second
.stop:
    cli
    hlt
    jmp .stop
