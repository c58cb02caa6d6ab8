; SPDX-License-Identifier: BSD-2-Clause
; Where the vCPUs beside the first one begin: flat 32-bit protected mode, as the loader's GDT has it; EBX is the number.
; And the handlers that do as little as possible.
bits 32

APIC_EOI    equ 0xfee000b0
STACK_BYTES equ 4096

global hostile_entry, hostile_taken, hostile_tick, hostile_nmi, hostile_storm
extern guest_load_gdt, hostile_other, hostile_note_tick, hostile_stacks

section .text
hostile_entry:
    cld
    mov eax, ebx
    imul eax, STACK_BYTES
    lea esp, [hostile_stacks + eax + STACK_BYTES]
    call guest_load_gdt
    push ebx
    call hostile_other
.stop:
    cli
    hlt
    jmp .stop

hostile_tick:
    pushad
    call hostile_note_tick
    popad
hostile_taken:
    push eax
    xor eax, eax
    mov [APIC_EOI], eax
    pop eax
hostile_nmi:
    iretd

; void hostile_storm(void): a data breakpoint on the place where the delivery of #DB pushes its frame: each delivery
; is a debug exception again, and there is no instruction between them.
hostile_storm:
    sub esp, 64
    lea eax, [esp - 8]
    mov dr0, eax
    mov eax, 0x000d0001 ; breakpoint 0: writes of 4 bytes
    mov dr7, eax
    pushfd
    pop eax
    or eax, 0x100
    push eax
    popfd
    nop
    nop
    xor eax, eax
    mov dr7, eax
    add esp, 64
    ret
