; SPDX-License-Identifier: BSD-2-Clause
; Where SIPI starts a processor, in real mode; the ways into the C handlers of interrupts.

TRAMPOLINE  equ 0x8000
STACK_SHIFT equ 12 ; 4 KiB each
APIC_ID     equ 0xfee00020

global mp_trampoline, mp_trampoline_end, mp_entry_timer, mp_entry_pit, mp_entry_uart, mp_entry_spurious
extern guest_load_gdt, mp_cpu_main, mp_stacks, mp_timer, mp_pit, mp_uart

section .text
bits 16
mp_trampoline:
    cli
    cld
    xor ax, ax
    mov ds, ax
    o32 lgdt [TRAMPOLINE + .pointer - mp_trampoline]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword 0x08:processor
align 8
.gdt:
    dq 0
    dq 0x00cf9b000000ffff
    dq 0x00cf93000000ffff
.pointer:
    dw .pointer - .gdt - 1
    dd TRAMPOLINE + .gdt - mp_trampoline
mp_trampoline_end:

bits 32
processor:
    mov eax, 0x10
    mov ds, eax
    mov ss, eax
    mov eax, [APIC_ID]
    shr eax, 24
    lea esp, [eax + 1]
    shl esp, STACK_SHIFT
    add esp, mp_stacks
    call guest_load_gdt
    sub esp, 12 ; the ABI's alignment at the call
    push eax
    call mp_cpu_main

%macro ENTRY 1
mp_entry_%1:
    pushad
    cld
    call mp_%1
    popad
    iretd
%endmacro
    ENTRY timer
    ENTRY pit
    ENTRY uart
mp_entry_spurious:
    iretd
