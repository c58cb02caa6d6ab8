; SPDX-License-Identifier: BSD-2-Clause
; The multiboot header, the first instructions, and the way into and out of the timer's interrupt handler. The loader
; enters at `start` in flat 32-bit protected mode: paging and interrupts are off, EAX has a magic number, EBX the
; address of the loader's information. There is no stack yet, and the loader's GDT may be gone.
bits 32
global start, timer_entry
extern guest_main, timer_interrupt

MAGIC equ 0x1badb002
FLAGS equ 0

section .multiboot align=4
    dd MAGIC, FLAGS, -(MAGIC + FLAGS)

section .text
start:
    mov esp, stack_top
    lgdt [gdt_pointer]
    jmp 0x08:.reload
.reload:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    cld
    call guest_main ; does not return

; The CPU has pushed EFLAGS, CS and EIP. C functions change EAX, ECX and EDX; pushad keeps all of them.
timer_entry:
    pushad
    cld
    call timer_interrupt
    popad
    iretd

section .rodata
align 8
gdt:
    dq 0
    dq 0x00cf9b000000ffff ; 0x08: code, 4 GiB
    dq 0x00cf93000000ffff ; 0x10: data, 4 GiB
gdt_end:
gdt_pointer:
    dw gdt_end - gdt - 1
    dd gdt

section .bss align=16
    resb 16384
stack_top:
