; SPDX-License-Identifier: BSD-2-Clause
; Where an additional vCPU begins: flat 32-bit protected mode, paging and interrupts off, no stack, EBX = what the
; starter passed in EDX, here the vCPU's index.

bits 32
global smp_entry
extern guest_load_gdt, smp_main, smp_stacks

STACK_SHIFT equ 12 ; 4 KiB each

section .text
smp_entry:
    cld
    lea esp, [ebx + 1]
    shl esp, STACK_SHIFT
    add esp, smp_stacks
    call guest_load_gdt
    sub esp, 12 ; the ABI's alignment at the call
    push ebx
    call smp_main
