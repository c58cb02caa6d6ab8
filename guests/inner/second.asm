; SPDX-License-Identifier: BSD-2-Clause
; Where the vCPUs beside the first one begin: flat 32-bit protected mode, or real mode, by SIPI. They go on in long
; mode, with the page tables that the first one has made.

extern inner_pml4, inner_other, inner_other_stack, lab_gdt
%define pml4 inner_pml4
%include "long_mode.inc"

GDT_LIMIT  equ 39
TRAMPOLINE equ 0x8000 ; SIPI's vector is 8

global inner_second, inner_trampoline, inner_trampoline_end

section .text
bits 16
inner_trampoline: ; copied to TRAMPOLINE
    cli
    cld
    xor ax, ax
    mov ds, ax
    o32 lgdt [TRAMPOLINE + .pointer - inner_trampoline]
    LONG_MODE 0
    jmp dword CODE64:in_long_mode
align 4
.pointer:
    dw GDT_LIMIT
    dd lab_gdt
inner_trampoline_end:

bits 32
inner_second:
    cld
    lgdt [pointer]
    LONG_MODE 0
    jmp CODE64:in_long_mode

bits 64
default rel
in_long_mode:
    mov eax, DATA
    mov ss, eax
    mov ds, eax
    mov es, eax
    lea rsp, [inner_other_stack + 4096]
    call [inner_other]

section .rodata
pointer:
    dw GDT_LIMIT
    dq lab_gdt
