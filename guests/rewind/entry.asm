; SPDX-License-Identifier: BSD-2-Clause
; Where an additional vCPU begins: flat 32-bit protected mode, paging and interrupts off, no stack, EBX = what the
; starter passed in EDX, here the vCPU's index.

bits 32
global rewind_entry
extern guest_load_gdt, rewind_main, rewind_stacks

STACK_SHIFT equ 12 ; 4 KiB each

section .text
rewind_entry:
    cld
    lea esp, [ebx + 1]
    shl esp, STACK_SHIFT
    add esp, rewind_stacks
    call guest_load_gdt
    sub esp, 12 ; the ABI's alignment at the call
    push ebx
    call rewind_main

; The local APIC timer's interrupt.
global rewind_apic_entry
extern rewind_apic_count
APIC_EOI equ 0xfee000b0

rewind_apic_entry:
    inc dword [rewind_apic_count]
    mov dword [APIC_EOI], 0
    iret
