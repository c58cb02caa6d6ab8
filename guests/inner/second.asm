; SPDX-License-Identifier: BSD-2-Clause
; Where the vCPUs beside the first one begin: flat 32-bit protected mode. They go on in long mode, with the page tables
; that the first one has made.

extern inner_pml4, inner_other, inner_other_stack, lab_gdt
%define pml4 inner_pml4
%include "long_mode.inc"

GDT_LIMIT equ 39

global inner_second

section .text
bits 32
inner_second:
    cld
    LONG_MODE 0
    lgdt [pointer]
    jmp CODE64:.long

bits 64
default rel
.long:
    mov eax, DATA
    mov ss, eax
    mov ds, eax
    mov es, eax
    lea rsp, [inner_other_stack + 4096]
    call inner_other

section .rodata
pointer:
    dw GDT_LIMIT
    dq lab_gdt
